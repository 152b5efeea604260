import { parseAddress } from '../lib/address.ts';
import { PolicySet } from './compile.ts';
import type { Decision, NamedPort, NearestMiss, PolicyPeerFacts } from './evaluate.ts';
import type { Direction, Labels, NetworkPolicy, Protocol } from './model.ts';

/** One end of a call: a pod (or the pod of a workload's template), or an address that no pod owns. */
export type Party = PodParty | { readonly kind: 'address'; readonly address: string };

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
}

/** May one end call the other? */
export interface Question {
  readonly policies: readonly NetworkPolicy[];
  readonly from: Party;
  readonly to: Party;
  readonly protocol: Protocol;
  readonly port: number;
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
      /** A rule names an ipBlock, and the other end has no address to compare. */
      readonly addressUnknown: boolean;
    };

/** Both sides of a call, judged as if both ends prove who they are, by the engine that the proxy runs. */
export function judge(question: Question): Judgement {
  const { from, to } = question;
  if (isSame(from, to)) {
    return { verdict: 'allow', self: true, egress: { kind: 'not-asked' }, ingress: { kind: 'not-asked' } };
  }
  const set = new PolicySet(question.policies);
  const egress = sideOf(set, question, 'outbound');
  const ingress = sideOf(set, question, 'inbound');
  const denied = egress.kind === 'denied' || ingress.kind === 'denied';
  return { verdict: denied ? 'deny' : 'allow', self: false, egress, ingress };
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

function sideOf(set: PolicySet, question: Question, direction: Direction): Side {
  const [own, other] = direction === 'inbound' ? [question.to, question.from] : [question.from, question.to];
  if (own.kind === 'address') return { kind: 'not-asked' };
  const addresses = callAddresses(question.from, question.to);
  const peer = factsOf(other, direction === 'inbound' ? addresses.from : addresses.to);
  const decision: Decision = set.forPod(own).evaluate({
    direction,
    peer,
    protocol: question.protocol,
    port: question.port,
    ...(other.kind === 'pod' ? { namedPorts: other.namedPorts } : {}),
  });
  if (!decision.isolated) return { kind: 'not-isolated' };
  const isolating = set.selecting(own).filter((policy) => policy[direction] !== undefined);
  const policies = isolating.map((policy) => policy.id);
  const blocks = isolating.some((policy) =>
    policy[direction]!.some((rule) => rule.peers?.some((one) => one.kind === 'block')),
  );
  const addressUnknown = blocks && peer.address === '';
  if (decision.allow) {
    return { kind: 'allowed', policies, policy: decision.policy, rule: decision.rule, addressUnknown };
  }
  return { kind: 'denied', policies, nearestMiss: decision.nearestMiss, addressUnknown };
}

function factsOf(party: Party, address: string): PolicyPeerFacts {
  if (party.kind === 'address') return { kind: 'address', address };
  const { namespace, labels, namespaceLabels } = party;
  return { kind: 'proven', address, namespace, labels, namespaceLabels };
}

function addressesOf(party: Party): readonly string[] {
  return party.kind === 'address' ? [party.address] : party.addresses;
}

function isSame(from: Party, to: Party): boolean {
  return from.kind === 'pod' && to.kind === 'pod' && from.namespace === to.namespace && from.name === to.name;
}
