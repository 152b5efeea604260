import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { TokenRefusal } from '../../src/handshake/credentials.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import type { AddressOwner, Directory, Pod, ServicePort } from '../../src/peers/directory.ts';
import type { ClusterPolicy } from '../../src/policy/cluster-model.ts';
import type { Labels, NetworkPolicy } from '../../src/policy/model.ts';
import type { FlowEnding, FlowFacts, FlowSink } from '../../src/proxy/flow.ts';
import type { Judgement } from '../../src/proxy/judgement.ts';
import type { ProvenPeer } from '../../src/proxy/peer.ts';
import { Proxy } from '../../src/proxy/proxy.ts';
import type { IdentityAccess, NodeTraffic } from '../../src/proxy/surroundings.ts';
import type { CandidatesOf } from '../../src/proxy/target.ts';
import type { Resumption } from '../../src/relay/resumption.ts';
import { SimulatedDataPath } from './simulated-data-path.ts';
import { activity, End } from './simulated-socket.ts';
import type { EnforcementMode, Snapshot, Source } from '../../src/sources/source.ts';

/**
 * A network in memory: pods with and without a sidecar, whose sidecars are the real ones on a data path that only moves messages. For the life of
 * a connection as a table of cases; that sockets do the same is the business of the system tests.
 */
export class Simulation {
  readonly pods = new Map<string, SimulatedPod>();
  readonly services: { address: string; port: number; service: ServicePort }[] = [];
  policies: NetworkPolicy[] = [];
  clusterPolicies: ClusterPolicy[] = [];
  mode: EnforcementMode = 'enforce';
  /** Whether a marked SYN keeps its mark on the way. */
  marksSurvive = true;
  /** The first one that is ready. */
  candidates: CandidatesOf = (_service, among) => among.filter((one) => one.ready).slice(0, 1);
  /** Between this network and others: who is really meant by an address, and where its callers seem to come from. */
  readonly nat = new Map<string, { readonly to: SimulatedPod; readonly from: string }>();
  readonly #tokens = new Map<string, ProvenPeer>();
  readonly admissionKey = randomBytes(32);
  /** Addresses that the network leads somewhere else, as a relaying attacker does. */
  readonly leads = new Map<string, string>();
  readonly #refused = new Map<string, TokenRefusal['reason']>();
  /** The issuer key that signs now, and the one that everybody trusts. */
  issuerKeyId = 'issuer-1';
  trustedKeyId = 'issuer-1';
  version = 0;
  #nextAddress = 1;

  pod(name: string, labels: Labels, options: PodOptions = {}): SimulatedPod {
    const address = options.address ?? `10.0.0.${this.#nextAddress++}`;
    const pod: Pod = {
      namespace: options.namespace ?? 'demo',
      name,
      uid: `uid-${name}`,
      serviceAccount: 'default',
      labels,
      addresses: [address],
      nodeName: 'node-1',
      ports: [],
      probePorts: options.probePorts ?? [],
      enrolled: options.sidecar !== false,
      hostNetwork: false,
    };
    const simulated = new SimulatedPod(this, pod, options);
    this.pods.set(address, simulated);
    return simulated;
  }

  /** A key, and a token that every verifier of this network knows. */
  credentialsFor(pod: Pod): ReturnType<IdentityAccess['credentials']> {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const token = randomBytes(200);
    const expiresAt = Date.now() / 1000 + 3600;
    this.#tokens.set(token.toString('hex'), {
      publicKey: NODE_CURVES.verifyingKeyOf(publicKey),
      expiresAt,
      podUid: pod.uid,
      namespace: pod.namespace,
      podName: pod.name,
      labels: pod.labels,
      namespaceLabels: {},
      issuerKeyId: this.issuerKeyId,
      issuedAt: Math.floor(Date.now() / 1000),
    });
    return { token, privateKey: NODE_CURVES.signingKeyOf(privateKey), expiresAt, podUid: pod.uid };
  }

  /** From here on no verifier takes this token, for that reason. */
  refuseToken(token: Uint8Array, reason: TokenRefusal['reason']): void {
    this.#refused.set(Buffer.from(token).toString('hex'), reason);
  }

  verify(token: Uint8Array) {
    const refused = this.#refused.get(Buffer.from(token).toString('hex'));
    if (refused !== undefined) return { refusal: { reason: refused, detail: 'as the test wants it' } };
    const identity = this.#tokens.get(Buffer.from(token).toString('hex'));
    return identity === undefined
      ? { refusal: { reason: 'token-untrusted', detail: 'unknown' } as const }
      : { identity };
  }

  /** Makes what was changed known to every sidecar. */
  publish(): void {
    this.version++;
    for (const pod of this.pods.values()) pod.source.publish(this.snapshotFor(pod));
  }

  snapshotFor(self: SimulatedPod): Snapshot {
    return {
      version: this.version,
      takenAt: Date.now(),
      self: self.pod,
      selfNamespaceLabels: {},
      mode: this.mode,
      policies: this.policies,
      clusterPolicies: this.clusterPolicies,
      directory: this.#directory(self),
    };
  }

  #directory(viewer: SimulatedPod): Directory {
    const believed = new Map(
      [...this.pods]
        .filter(([address]) => !viewer.unseen.has(address))
        .map(([address, { believed: pod }]) => [address, pod]),
    );
    return {
      owner: (address): AddressOwner => {
        const pod = believed.get(address);
        if (pod !== undefined) return { kind: 'pod', pod };
        if (address === NODE_ADDRESS) return { kind: 'node', name: 'node-1', labels: {} };
        return address.startsWith('10.0.') ? { kind: 'unknown' } : { kind: 'external' };
      },
      service: (address, port) =>
        this.services.find((one) => one.address === address && one.port === port)?.service,
      pod: (_namespace, name) =>
        [...believed.values()].find((pod): pod is Pod => pod !== undefined && pod.name === name),
      pods: () => [...believed.values()].filter((pod): pod is Pod => pod !== undefined),
      namespaceLabels: () => ({}),
      knowsPodNetwork: true,
      destinationsOf: (podAddress, port) =>
        this.services.filter((one) =>
          one.service.endpoints.some((end) => end.address === podAddress && end.port === port),
        ),
    };
  }

  /**
   * A connection reaches an address from the network.
   * @returns the system's error if nobody is there
   */
  arrive(source: Endpoint, dialled: Endpoint, far: End, marked: boolean): string | undefined {
    const target = { ...dialled, address: this.leads.get(dialled.address) ?? dialled.address };
    const translated = this.nat.get(target.address);
    if (translated !== undefined) {
      const { to, from } = translated;
      const [there, here] = [
        { ...target, address: to.address },
        { ...source, address: from },
      ];
      return to.arriveHere(here, there, far, marked);
    }
    const pod = this.pods.get(target.address);
    return pod === undefined ? 'EHOSTUNREACH' : pod.arriveHere(source, target, far, marked);
  }

  /** Waits until a condition holds, at most so many milliseconds. */
  async until(holds: () => boolean, patience = PATIENCE_MS): Promise<void> {
    for (const deadline = performance.now() + patience; !holds();) {
      if (performance.now() > deadline) throw new Error('it never came true');
      await this.settle(5);
    }
  }

  /** Lets so much time pass, and then everything that is on its way arrive. */
  async settle(milliseconds = 0): Promise<void> {
    if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    for (let idle = 0; idle < 20; idle++) {
      const before = activity.count;
      await new Promise((resolve) => setImmediate(resolve));
      if (activity.count !== before) idle = 0;
    }
  }
}

/** How long a condition may take to come true before the test is given up. */
const PATIENCE_MS = 60_000;

const IP = [0x45, ...Array.from({ length: 19 }, () => 0)];
const TCP = (words: number): number[] => [
  ...Array.from({ length: 12 }, () => 0),
  words << 4,
  ...Array.from({ length: 7 }, () => 0),
];
const PLAIN_SYN = Uint8Array.of(...IP, ...TCP(5));
const MARKED_SYN = Uint8Array.of(...IP, ...TCP(6), 34, 2, 1, 1);

export const NODE_ADDRESS = '192.168.1.1';

export interface PodOptions {
  readonly sidecar?: boolean;
  readonly probePorts?: readonly number[];
  readonly address?: string;
  readonly nodeTraffic?: NodeTraffic;
  readonly keepSource?: boolean;
  /** Instead of one whose tokens only this network knows. */
  readonly identity?: IdentityAccess;
  readonly namespace?: string;
  /** What its application says as soon as somebody connects. */
  readonly greeting?: string;
  /** Gets the passes that this pod gives. */
  readonly resumption?: Resumption;
}

export class SimulatedPod implements FlowSink {
  pod: Pod;
  /** What the directory says is at this address; undefined: nothing yet. */
  believed: Pod | undefined;
  readonly source: SimulatedSource;
  readonly proxy: Proxy | undefined;
  readonly dataPath: SimulatedDataPath | undefined;
  /** Connections that its application accepted. */
  readonly accepted: End[] = [];
  /** Every verdict that was counted: direction, verdict, reason, peer, handshake. */
  readonly counts: string[] = [];
  readonly records: { facts: FlowFacts; judgement: Judgement; ending: FlowEnding }[] = [];
  /** What was relayed, all connections together. */
  readonly bytes = { in: 0, out: 0 };
  readonly defects: unknown[] = [];
  credentials: ReturnType<IdentityAccess['credentials']>;
  /** The key that its Hellos are admitted by. */
  admissionKey: Uint8Array;
  /** Addresses that its source does not know. */
  readonly unseen = new Set<string>();
  greeting: string | undefined;
  listening = true;
  readonly #simulation: Simulation;

  constructor(simulation: Simulation, pod: Pod, options: PodOptions) {
    this.#simulation = simulation;
    this.pod = pod;
    this.believed = pod;
    this.greeting = options.greeting;
    this.admissionKey = simulation.admissionKey;
    this.source = new SimulatedSource();
    if (options.sidecar === false) return;
    this.credentials = simulation.credentialsFor(pod);
    let dataPath: SimulatedDataPath | undefined;
    this.proxy = new Proxy({
      source: this.source,
      identity: options.identity ?? {
        credentials: () => this.credentials,
        ownAdmissionKey: () => this.admissionKey,
        admissionKeys: () => [simulation.admissionKey],
        verify: (token) => simulation.verify(token),
        stillHolds: (peer) => peer.issuerKeyId === simulation.trustedKeyId,
        explainUnadmitted: () => ({ reason: 'token-untrusted', detail: 'not admitted' }),
      },
      createDataPath: (events) => {
        dataPath = new SimulatedDataPath(simulation, this, events, options.resumption);
        return dataPath;
      },
      sink: this,
      candidates: (service, among) => simulation.candidates(service, among),
      isLocalAddress: (address) => this.pod.addresses.includes(address),
      nodeTraffic: options.nodeTraffic ?? 'probes',
      keepSource: options.keepSource ?? false,
      onDefect: (error) => this.defects.push(error),
    });
    this.dataPath = dataPath;
  }

  get address(): string {
    return this.pod.addresses[0]!;
  }

  /** Its application connects to somebody, through its sidecar if it has one. @param picked by a choice that the data path has */
  connect(to: string, port = 80, picked?: Endpoint): End {
    const [app, far] = End.pair();
    const source = { address: this.address, port: 40_000 };
    const target = { address: to, port };
    if (this.dataPath === undefined) this.#simulation.arrive(source, target, far, false);
    else this.dataPath.accept('outbound', source, target, far, new Uint8Array(0), picked);
    return app;
  }

  /** A connection from the network. @returns the system's error if nobody listens */
  arriveHere(source: Endpoint, target: Endpoint, far: End, marked: boolean): string | undefined {
    if (this.dataPath !== undefined) {
      const syn = marked && this.#simulation.marksSurvive ? MARKED_SYN : PLAIN_SYN;
      this.dataPath.accept('inbound', source, target, far, syn);
      return undefined;
    }
    if (!this.listening) return 'ECONNREFUSED';
    this.acceptLocally(far);
    return undefined;
  }

  /** Its application accepts. */
  acceptLocally(end: End): void {
    this.accepted.push(end);
    if (this.greeting !== undefined) end.write(Buffer.from(this.greeting));
  }

  counted(facts: FlowFacts, judgement: Judgement): void {
    const { direction, peer, handshake } = facts;
    this.counts.push(`${direction} ${judgement.verdict} ${judgement.reason} ${peer} ${handshake}`);
  }

  recorded(facts: FlowFacts, judgement: Judgement, ending: FlowEnding): void {
    // They hold until this returns.
    this.records.push({ facts: structuredClone(facts), judgement, ending: { ...ending } });
  }

  relayed(bytesIn: number, bytesOut: number): void {
    this.bytes.in += bytesIn;
    this.bytes.out += bytesOut;
  }
}

class SimulatedSource implements Source {
  snapshot: Snapshot | undefined;
  readonly problems = [];
  readonly #listeners = new Set<() => void>();

  start(): Promise<void> {
    return Promise.resolve();
  }

  publish(snapshot: Snapshot): void {
    this.snapshot = snapshot;
    for (const listener of this.#listeners) listener();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
