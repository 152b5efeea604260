import { parseAddress } from '../lib/address.ts';
import type { ClusterPolicy } from './cluster-model.ts';
import { PolicySet } from './compile.ts';
import type { Decision, Evaluate, NamedPort, NearestMiss, PolicyPeerFacts } from './evaluate.ts';
import type { Direction, Labels, NetworkPolicy, Protocol } from './model.ts';

/** One end of a call: a pod (or the pod of a workload's template), or an address that no pod owns. */
export type Party = PodParty | AddressParty;

/** Something outside the pod network, a node, or a hostNetwork pod: NetworkPolicy knows it as an address and nothing else. */
export interface AddressParty {
  readonly kind: 'address';
  /** Empty when it is not known: it is in no ipBlock then. */
  readonly address: string;
  /** The node whose address this is, and its labels. */
  readonly node?: string | undefined;
  readonly nodeLabels?: Labels | undefined;
}

export interface PodParty {
  readonly kind: 'pod';
  readonly namespace: string;
  /** As the user named it: `web-1`, `deploy/web`. */
  readonly name: string;
  readonly labels: Labels;
  readonly namespaceLabels: Labels;
  /** Empty for the pod of a template: it is in no ipBlock. */
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
  /** Keys of labels that its workload's selector asks for: they cannot be changed. */
  readonly fixedLabels?: readonly string[];
  /** The node that the pod runs on, and its addresses: what comes from there is always let in. */
  readonly node?: string | undefined;
  readonly nodeAddresses?: readonly string[];
  /** It is of this other trust domain, named and labelled as it is taken here: no policy of this cluster is about its own side. */
  readonly foreignDomain?: string;
}

/** A call from one end to the other. */
export interface Call {
  readonly from: Party;
  readonly to: Party;
  readonly protocol: Protocol;
  /** At the destination, after all address translation. */
  readonly port: number;
  /** DNS names by which the destination is known. */
  readonly names?: readonly string[];
  /** The caller cannot prove who it is: the called end knows it as an address. */
  readonly unproven?: boolean;
}

/** May one end call the other? */
export interface Question extends Call {
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies?: readonly ClusterPolicy[];
}

export interface Judgement {
  readonly verdict: 'allow' | 'deny';
  /** The call of a pod to itself: no policy is asked. */
  readonly self: boolean;
  /** What the policies of the calling end say; */
  readonly egress: Side;
  /** and those of the called end. */
  readonly ingress: Side;
}

export type Side =
  /** No NetworkPolicy applies: this end is no pod, or the call is to the pod itself. */
  | { readonly kind: 'not-asked' }
  /** Traffic from the node that the pod runs on is always let in (field documentation of `ingress`). */
  | { readonly kind: 'own-node' }
  | { readonly kind: 'not-isolated' }
  | {
      readonly kind: 'allowed';
      /** The policies that isolate the pod in this direction. */
      readonly policies: readonly string[];
      readonly policy: string;
      readonly rule: number;
      readonly addressUnknown: boolean;
    }
  | {
      readonly kind: 'denied';
      readonly policies: readonly string[];
      readonly nearestMiss: NearestMiss | undefined;
      /** The Deny rule of a cluster policy. */
      readonly deniedBy?: { readonly policy: string; readonly rule: number };
      /** A rule names an ipBlock, and the other end has no address to compare. */
      readonly addressUnknown: boolean;
    };

/** Both sides of a call, judged as if both ends prove who they are, by the engine that the proxy runs. */
export function judge(question: Question): Judgement {
  return new Judge(question.policies, question.clusterPolicies).judge(question);
}

/** Judges many calls under the same policies; what is compiled for a pod is kept for as long as its object is used. */
export class Judge {
  readonly #set: PolicySet;
  readonly #engines = new Map<PodParty, Evaluate>();

  constructor(policies: readonly NetworkPolicy[], clusterPolicies: readonly ClusterPolicy[] = []) {
    this.#set = new PolicySet(policies, undefined, clusterPolicies);
  }

  /** The verdict alone, for those who ask often. */
  verdict(call: Call): Judgement['verdict'] {
    if (isSame(call.from, call.to)) return 'allow';
    for (const direction of ['outbound', 'inbound'] as const) {
      const decision = this.#decide(call, direction);
      if (typeof decision === 'object' && !decision.allow) return 'deny';
    }
    return 'allow';
  }

  /** The verdict, and what each side says. */
  judge(call: Call): Judgement {
    if (isSame(call.from, call.to)) {
      return { verdict: 'allow', self: true, egress: { kind: 'not-asked' }, ingress: { kind: 'not-asked' } };
    }
    const egress = this.#side(call, 'outbound');
    const ingress = this.#side(call, 'inbound');
    const denied = egress.kind === 'denied' || ingress.kind === 'denied';
    return { verdict: denied ? 'deny' : 'allow', self: false, egress, ingress };
  }

  #decide(call: Call, direction: Direction): Decision | 'not-asked' | 'own-node' {
    const [own, other] = direction === 'inbound' ? [call.to, call.from] : [call.from, call.to];
    if (own.kind === 'address' || own.foreignDomain !== undefined) return 'not-asked';
    if (direction === 'inbound' && isOwnNode(own, other)) return 'own-node';
    const addresses = callAddresses(call.from, call.to);
    return this.#engine(own).evaluate({
      direction,
      peer: factsOf(
        other,
        direction === 'inbound' ? addresses.from : addresses.to,
        direction === 'inbound' && call.unproven === true ? 'pod' : 'proven',
      ),
      protocol: call.protocol,
      port: call.port,
      ...(other.kind === 'pod' ? { namedPorts: other.namedPorts } : {}),
      ...(call.names === undefined ? {} : { names: call.names }),
    });
  }

  #engine(pod: PodParty): Evaluate {
    let engine = this.#engines.get(pod);
    if (engine === undefined) this.#engines.set(pod, (engine = this.#set.forPod(pod)));
    return engine;
  }

  #side(call: Call, direction: Direction): Side {
    const decision = this.#decide(call, direction);
    if (typeof decision === 'string') return { kind: decision };
    if (!decision.isolated) return { kind: 'not-isolated' };
    const [own, other] = direction === 'inbound' ? [call.to, call.from] : [call.from, call.to];
    const isolating = this.#set
      .selecting(own as PodParty)
      .filter((policy) => policy[direction] !== undefined);
    const policies = isolating.map((policy) => policy.id);
    const blocks = isolating.some((policy) =>
      policy[direction]!.some((rule) => rule.peers?.some((one) => one.kind === 'block')),
    );
    const addressUnknown = blocks && addressesOf(other).length === 0;
    if (decision.allow) {
      return { kind: 'allowed', policies, policy: decision.policy, rule: decision.rule, addressUnknown };
    }
    const { nearestMiss, deniedBy } = decision;
    if (deniedBy === undefined) return { kind: 'denied', policies, nearestMiss, addressUnknown };
    return { kind: 'denied', policies: [deniedBy.policy], nearestMiss, addressUnknown, deniedBy };
  }
}

/**
 * The addresses that a call between two ends would carry: of one family, the first that both have. Empty where an end has none.
 */
export function callAddresses(from: Party, to: Party): { from: string; to: string } {
  const [ours, theirs] = [addressesOf(from), addressesOf(to)];
  if (ours.length === 0 || theirs.length === 0) return { from: ours[0] ?? '', to: theirs[0] ?? '' };
  for (const target of theirs) {
    const family = parseAddress(target)?.family;
    const source = ours.find((one) => parseAddress(one)?.family === family);
    if (source !== undefined) return { from: source, to: target };
  }
  return { from: ours[0]!, to: theirs[0]! };
}

function factsOf(party: Party, address: string, kind: 'proven' | 'pod'): PolicyPeerFacts {
  if (party.kind === 'address') {
    // All pods are known here: an address that none of them has is nobody's.
    return party.nodeLabels === undefined
      ? { kind: 'address', address, outside: true }
      : { kind: 'address', address, outside: true, nodeLabels: party.nodeLabels };
  }
  const { namespace, labels, namespaceLabels } = party;
  return { kind, address, namespace, labels, namespaceLabels };
}

function addressesOf(party: Party): readonly string[] {
  if (party.kind === 'pod') return party.addresses;
  return party.address === '' ? [] : [party.address];
}

function isSame(from: Party, to: Party): boolean {
  return from.kind === 'pod' && to.kind === 'pod' && from.namespace === to.namespace && from.name === to.name;
}

function isOwnNode(pod: PodParty, from: Party): boolean {
  if (from.kind !== 'address') return false;
  if (pod.node !== undefined && pod.node === from.node) return true;
  return pod.nodeAddresses !== undefined && pod.nodeAddresses.includes(from.address);
}
