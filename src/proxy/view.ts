import { RESERVED_LABEL_PREFIX, withoutReserved } from '../identity/claims.ts';
import type { Labels } from '../policy/model.ts';
import type { Evaluate, PolicyPeerFacts } from '../policy/evaluate.ts';
import type { AddressOwner, ForeignOwner, Pod } from '../peers/directory.ts';
import type { EnforcementMode, Snapshot } from '../sources/source.ts';
import type { Endpoint } from '../lib/address.ts';
import { denied, type Judgement, judgementOf } from './judgement.ts';
import type { ProvenPeer } from './peer.ts';
import type { FlowEnd, PeerKind, PodName } from './flow.ts';

/** Who of another trust domain has an address that nobody of this cluster has. */
export type FindForeignOwner = (address: string) => ForeignOwner | undefined;

/** One snapshot with its policy compiled: everything that a verdict depends on, unchanging. */
export class View {
  readonly snapshot: Snapshot;
  readonly #policy: Evaluate;
  readonly #gone: (uid: string) => boolean;
  readonly #foreignOwner: FindForeignOwner;
  readonly #labels = new WeakMap<ProvenPeer, { readonly from: Labels; readonly labels: Labels }>();

  /**
   * @param gone whether the source knew the pod of a uid once and knows it no more
   * @param foreignOwner who has an address that is outside this cluster, as far as trust knows
   */
  constructor(
    snapshot: Snapshot,
    policy: Evaluate,
    gone: (uid: string) => boolean,
    foreignOwner: FindForeignOwner = () => undefined,
  ) {
    this.snapshot = snapshot;
    this.#policy = policy;
    this.#gone = gone;
    this.#foreignOwner = foreignOwner;
  }

  /** Who has an address: what this cluster says, and where it is nobody's there, what trust says. */
  owner(address: string): AddressOwner {
    const owner = this.snapshot.directory.owner(address);
    return owner.kind === 'external' ? (this.#foreignOwner(address) ?? owner) : owner;
  }

  /** Whether a pod has left the source: its identity proves somebody who is no more. */
  isGone(peer: ProvenPeer): boolean {
    return this.#gone(peer.podUid);
  }

  get mode(): EnforcementMode {
    return this.snapshot.mode;
  }

  isSelf(address: string): boolean {
    return this.snapshot.self.addresses.includes(address);
  }

  /** The verdict about somebody who reached `port` of this pod and proved nothing: only its address counts. */
  inboundUnproven(address: string, port: number): Judgement {
    return this.#inbound(this.#addressFacts(address), port, false);
  }

  /** The verdict about a proven peer that reached `port` of this pod. */
  inboundProven(peer: ProvenPeer, address: string, port: number): Judgement {
    return this.#withoutLabels(peer) ?? this.#inbound(this.#facts(peer, address), port, true);
  }

  /** The verdict about a call of this pod to a pod that proved itself. */
  outboundProven(peer: ProvenPeer, destination: Endpoint): Judgement {
    return (
      this.#withoutLabels(peer) ??
      this.#outbound(this.#facts(peer, destination.address), destination.port, this.#current(peer), true)
    );
  }

  /** The verdict about a call to somebody who will prove nothing: by what the source says about the address. */
  outboundUnproven(destination: Endpoint): Judgement {
    const owner = this.owner(destination.address);
    if (owner.kind !== 'pod') {
      return this.#outbound(this.#addressFacts(destination.address), destination.port, undefined, false);
    }
    const { pod } = owner;
    const facts: PolicyPeerFacts = {
      kind: 'pod',
      address: destination.address,
      namespace: pod.namespace,
      labels: pod.labels,
      namespaceLabels: this.snapshot.directory.namespaceLabels(pod.namespace),
    };
    return this.#outbound(facts, destination.port, pod, true);
  }

  /**
   * The labels of a proven peer: those that its source has for this very pod now, where it knows the pod; else those of its token.
   * The issuer takes them from the same place, only earlier.
   */
  #facts(peer: ProvenPeer, address: string): PolicyPeerFacts {
    const { directory } = this.snapshot;
    const current = this.#current(peer);
    return {
      kind: 'proven',
      address,
      namespace: peer.namespace,
      labels: current === undefined ? peer.labels : this.#labelsOf(peer, current),
      namespaceLabels:
        current === undefined ? peer.namespaceLabels : directory.namespaceLabels(peer.namespace),
    };
  }

  /** Made once for a peer and what the source says of it: every connection of its asks. */
  #labelsOf(peer: ProvenPeer, { labels: from }: Pod): Labels {
    let made = this.#labels.get(peer);
    if (made?.from !== from) {
      made = { from, labels: withReserved(from, peer.labels) };
      this.#labels.set(peer, made);
    }
    return made.labels;
  }

  /** The pod that proved itself as the source knows it now; another one of its name is somebody else. */
  #current(peer: ProvenPeer): Pod | undefined {
    const known = this.snapshot.directory.pod(peer.namespace, peer.podName);
    return known?.uid === peer.podUid ? known : undefined;
  }

  /** A peer of whom neither proof nor source says labels satisfies no rule, not even one that wants a label to be absent. */
  #withoutLabels(peer: ProvenPeer): Judgement | undefined {
    if (peer.namesOnly === undefined) return undefined;
    const known = this.#current(peer);
    if (known !== undefined && known.serviceAccount === peer.namesOnly.serviceAccount) return undefined;
    const detail = `${peer.namespace}/${peer.podName} (${peer.podUid}, service account ${peer.namesOnly.serviceAccount})`;
    return denied('pod-unknown', 'enforce', { detail });
  }

  /** Rules that deny pods may be about whoever proves nothing, unless its address is certainly no pod's. */
  #addressFacts(address: string): PolicyPeerFacts {
    const { directory } = this.snapshot;
    const owner = this.owner(address);
    if (owner.kind === 'node') return { kind: 'address', address, outside: true, nodeLabels: owner.labels };
    return { kind: 'address', address, outside: owner.kind === 'external' && directory.knowsPodNetwork };
  }

  #inbound(peer: PolicyPeerFacts, port: number, proven: boolean): Judgement {
    const decision = this.#policy.evaluate({ direction: 'inbound', peer, protocol: 'TCP', port });
    return judgementOf(decision, proven, this.mode);
  }

  #outbound(peer: PolicyPeerFacts, port: number, pod: Pod | undefined, named: boolean): Judgement {
    const decision = this.#policy.evaluate({
      direction: 'outbound',
      peer,
      protocol: 'TCP',
      port,
      ...(pod === undefined ? {} : { namedPorts: pod.ports }),
    });
    return judgementOf(decision, named, this.mode);
  }
}

/** How an address that proved nothing is called in records. */
export function unprovenKind(owner: AddressOwner): PeerKind {
  return owner.kind === 'node' || owner.kind === 'external' ? owner.kind : 'unproven';
}

/** The name of an end, where the source knows it. */
export function endOf(view: View | undefined, endpoint: Endpoint): FlowEnd {
  const owner = view?.owner(endpoint.address);
  if (owner?.kind === 'foreign') return { ...endpoint, trustDomain: owner.domain };
  return owner?.kind === 'pod'
    ? { ...endpoint, namespace: owner.pod.namespace, pod: owner.pod.name }
    : endpoint;
}

/** The own end of a flow. */
export function ownEnd(view: View | undefined, endpoint: Endpoint) {
  const self = view?.snapshot.self;
  return self === undefined ? endpoint : { ...endpoint, namespace: self.namespace, pod: self.name };
}

/** How a peer that proved itself is called in records. */
export function kindOf({ foreignDomain }: Pick<ProvenPeer, 'foreignDomain'>): PeerKind {
  return foreignDomain === undefined ? 'proven' : 'federated';
}

/** The name of a peer that proved itself. */
export function nameOf({ namespace, podName: pod, foreignDomain }: ProvenPeer): PodName {
  return { namespace, pod, ...(foreignDomain === undefined ? {} : { trustDomain: foreignDomain }) };
}

/** The end of a flow where a peer proved itself. */
export function provenEnd({ address, port }: Endpoint, peer: ProvenPeer): FlowEnd {
  return { address, port, ...nameOf(peer) };
}

/** The denial of something that came before there was a view. */
export function notReady(): Judgement {
  return denied('not-ready', 'enforce');
}

/** The source's labels, but for those that only an issuer may assert: they come from the token. */
function withReserved(fromSource: Labels, fromToken: Labels): Labels {
  if (!hasReserved(fromSource) && !hasReserved(fromToken)) return fromSource;
  const reserved = Object.entries(fromToken).filter(([key]) => key.startsWith(RESERVED_LABEL_PREFIX));
  return { ...withoutReserved(fromSource), ...Object.fromEntries(reserved) };
}

function hasReserved(labels: Labels): boolean {
  for (const key in labels) if (key.startsWith(RESERVED_LABEL_PREFIX)) return true;
  return false;
}
