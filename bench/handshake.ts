/**
 * What a handshake costs in TypeScript, CPU microseconds of both roles together, in one process and without any network:
 *
 *     node bench/handshake.ts [--rounds 20] [--node] [--only first,known,resumed]
 *
 * `first`: neither side ever saw the other's token. `known`: both verified it before, no session. `resumed`: a session. Each line has the median
 * of the rounds and their spread, with the curves by the addon, or with `--node` by `node:crypto` alone; one kind alone is what to profile (`node --cpu-prof bench/handshake.ts first`). `floor` is the asymmetric
 * operations alone that a first contact cannot do without, measured in the same process.
 */
import { randomBytes, type KeyObject } from 'node:crypto';
import { diffieHellman, generateKeyPairSync, sign, verify } from 'node:crypto';
import { type ClientContext, startClient, stepClient } from '../src/handshake/client.ts';
import { drawRandomness } from '../src/handshake/ephemeral.ts';
import type { Clock, Effect, HandshakeEvent } from '../src/handshake/outcome.ts';
import { RecentNonces } from '../src/handshake/recent-nonces.ts';
import { type ServerContext, startServer, stepServer } from '../src/handshake/server.ts';
import { ClientSessions, ServerSessions } from '../src/handshake/sessions.ts';
import { IdentityState, ownToken } from '../src/identity/identity-state.ts';
import { issueToken } from '../src/identity/issue.ts';
import { generateIssuer, generateOwnKey, parseIssuerKey } from '../src/identity/keys.ts';
import { parseTrustBundle } from '../src/identity/trust.ts';
import { TrustInForce } from '../src/identity/trust-in-force.ts';
import type { ProvenIdentity } from '../src/identity/verify.ts';
import { nativeCurves } from '../src/lib/native-curves.ts';
import { NODE_CURVES } from '../src/lib/node-curves.ts';
import { loadAddon } from '../src/native.ts';
import { count, flagsOf, someOf, yes } from './flags.ts';

const CLIENTS = 100;
const KINDS = ['first', 'known', 'resumed'] as const;
type Kind = (typeof KINDS)[number];

const flags = flagsOf('bench/handshake.ts', 'What a handshake costs in TypeScript.', {
  rounds: count('how often each is measured', 20),
  node: yes("with the curves of node:crypto instead of the addon's"),
  only: someOf('which are measured', KINDS),
});
const { rounds, only: kinds } = flags;
const curves = flags.node ? NODE_CURVES : nativeCurves(loadAddon())!;

const made = generateIssuer('cluster.local');
const issuer = parseIssuerKey(JSON.stringify(made.issuer), 'issuer');
const bundle = parseTrustBundle(JSON.stringify(made.bundle), 'bundle');

/** A pod with all that its sidecar holds in memory. */
class Pod {
  readonly address = { address: '10.0.0.1', port: 8080 };
  readonly identity: IdentityState;
  readonly clientSessions = new ClientSessions<ProvenIdentity>();
  readonly serverSessions = new ServerSessions<ProvenIdentity>();
  readonly recentNonces = new RecentNonces();
  trust = new TrustInForce(bundle, undefined, curves);

  constructor(jwt: string, key: ReturnType<typeof generateOwnKey>) {
    this.identity = new IdentityState(
      ownToken(jwt),
      key,
      new TrustInForce(bundle, undefined, curves),
      clock().epochSeconds,
      curves,
    );
  }

  static async make(name: string): Promise<Pod> {
    const key = generateOwnKey();
    const pod = {
      namespace: 'shop',
      name,
      uid: crypto.randomUUID(),
      serviceAccount: 'web',
      labels: {
        app: 'web',
        'app.kubernetes.io/name': 'web',
        'app.kubernetes.io/version': '1.4.2',
        'pod-template-hash': '7d4b9c6f5',
        tier: 'frontend',
        team: 'storefront',
        zone: 'a',
        release: 'stable',
      },
      addresses: [],
      nodeName: undefined,
      ports: [],
      probePorts: [],
      enrolled: true,
      hostNetwork: false,
    };
    const jwt = await issueToken(issuer, pod, { team: 'store' }, key.publicKey, clock().epochSeconds, 3600);
    return new Pod(jwt, key);
  }
}

function clock(): Clock {
  return { monotonic: performance.now(), epochSeconds: Date.now() / 1000 };
}

/** One whole conversation. @returns how it was proven */
function handshake(client: Pod, server: Pod): string {
  const clientContext: ClientContext<ProvenIdentity> = {
    credentials: client.identity.credentials(clock().epochSeconds)!,
    admissionKey: client.identity.ownAdmissionKey(),
    randomness: drawRandomness(curves.generateEphemeral),
    carrier: 'stream',
    wishes: { encryption: 'none' },
    destination: server.address,
    toSelf: false,
    offers: client.clientSessions.offer(server.address.address, performance.now()),
    verify: (token) => client.trust.verify(token, clock().epochSeconds),
    remember: (session) => client.clientSessions.add(server.address.address, session),
  };
  const serverContext: ServerContext<ProvenIdentity> = {
    credentials: server.identity.credentials(clock().epochSeconds)!,
    admissionKeys: server.trust.admissionKeys,
    randomness: drawRandomness(curves.generateEphemeral),
    carrier: 'stream',
    wishes: { encryption: 'none' },
    verify: (token) => server.trust.verify(token, clock().epochSeconds),
    explainUnadmitted: (token) => server.trust.explainUnadmitted(token, clock().epochSeconds),
    ownsDestination: ({ address }) => address === server.address.address,
    isOwnHello: () => false,
    sessions: server.serverSessions,
    recentNonces: server.recentNonces,
  };
  const started = startClient(clientContext);
  let clientState = started.state;
  let serverState = startServer<ProvenIdentity>();
  let ended = '';
  const onClient = (event: HandshakeEvent): void => {
    const next = stepClient(clientState, event, clientContext, clock());
    clientState = next.state;
    carry(next.effects, onClient, onServer);
  };
  const onServer = (event: HandshakeEvent): void => {
    const next = stepServer(serverState, event, serverContext, clock());
    serverState = next.state;
    carry(next.effects, onServer, onClient);
  };
  const carry = (
    effects: readonly Effect<ProvenIdentity>[],
    own: (event: HandshakeEvent) => void,
    other: (event: HandshakeEvent) => void,
  ): void => {
    for (const effect of effects) {
      if (effect.kind === 'send') other({ kind: 'frame', bytes: effect.bytes });
      if (effect.kind === 'judge') own({ kind: 'judged', verdict: { allow: true } });
      if (effect.kind === 'failed') throw new Error(`${effect.reason}: ${effect.detail}`);
      if (effect.kind === 'established') ended = effect.handshake;
    }
  };
  carry(started.effects, onClient, onServer);
  return ended;
}

/** Microseconds of CPU, of all threads of this process. */
function cpu(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

function print(name: string, samples: readonly number[]): void {
  const sorted = samples.toSorted((a, b) => a - b);
  const text = [sorted[sorted.length >> 1]!, sorted[0]!, sorted.at(-1)!].map((value) => value.toFixed(0));
  process.stdout.write(`${name.padEnd(10)} ${text[0]} us [${text[1]}..${text[2]}]\n`);
}

const server = await Pod.make('server');
const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, index) => Pod.make(`client-${index}`)));

for (const kind of kinds) {
  const samples: number[] = [];
  for (let round = -2; round < rounds; round++) {
    prepare(kind);
    const before = cpu();
    for (const client of clients) {
      const proven = handshake(client, server);
      if ((proven === 'resumed') !== (kind === 'resumed')) throw new Error(`${kind} was ${proven}`);
    }
    if (round >= 0) samples.push((cpu() - before) / CLIENTS);
  }
  print(kind, samples);
}
if (kinds.length === KINDS.length) print('floor', floor());

function prepare(kind: Kind): void {
  for (const pod of [server, ...clients]) {
    if (kind !== 'resumed') {
      pod.clientSessions.clear();
      pod.serverSessions.clear();
    }
    if (kind === 'first') pod.trust = new TrustInForce(bundle, undefined, curves);
  }
  if (kind === 'resumed' && server.serverSessions.size === 0) {
    for (const client of clients) handshake(client, server);
  }
}

/** Both sides: an ephemeral key, an agreement, the other's token, the other's signature, the own signature. */
function floor(): number[] {
  const message = randomBytes(32);
  const one: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
  });
  const signature = sign('sha256', message, one.privateKey);
  const samples: number[] = [];
  for (let round = -2; round < rounds; round++) {
    const before = cpu();
    for (let index = 0; index < CLIENTS; index++) {
      const [mine, theirs] = [generateKeyPairSync('x25519'), generateKeyPairSync('x25519')];
      for (const [own, peer] of [
        [mine, theirs],
        [theirs, mine],
      ] as const) {
        diffieHellman({ privateKey: own.privateKey, publicKey: peer.publicKey });
        verify('sha256', message, one.publicKey, signature);
        verify('sha256', message, one.publicKey, signature);
        sign('sha256', message, one.privateKey);
      }
    }
    if (round >= 0) samples.push((cpu() - before) / CLIENTS);
  }
  return samples;
}
