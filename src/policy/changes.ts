import { parseAddress } from '../lib/address.ts';
import { PolicySet } from './compile.ts';
import { callAddresses, type Judgement, judge, type Party, type PodParty, type Question } from './judge.ts';
import type { Labels, NetworkPolicy, PolicyPeer, PolicyRule } from './model.ts';
import { closestMiss } from './nearest-miss.ts';
import { type CompiledRequirement, NAMESPACE_NAME_LABEL } from './selector.ts';

/** A change of what the user has written. Applied alone to the question's input it allows the call. */
export type Change =
  /** Labels of a pod (or of the workload's template): undefined removes the label. */
  | {
      readonly kind: 'label-pod';
      readonly end: 'from' | 'to';
      readonly pod: string;
      readonly labels: Readonly<Record<string, string | undefined>>;
    }
  | {
      readonly kind: 'label-namespace';
      readonly namespace: string;
      readonly labels: Readonly<Record<string, string | undefined>>;
    }
  /** Rules to add, one per side that denies; some in a policy of their own. */
  | { readonly kind: 'add-rules'; readonly rules: readonly AddedRule[] };

export interface AddedRule {
  /** `networkpolicy/shop/db-allow`: one that isolates the pod already, or the new one. */
  readonly policy: string;
  /** A new policy for this pod: those that isolate it select every pod of the namespace, and the rule would open them all. */
  readonly created?: NetworkPolicy;
  readonly direction: 'ingress' | 'egress';
  readonly rule: PolicyRule;
}

/** The input of a question with a change made. */
export function applyChange(question: Question, change: Change): Question {
  switch (change.kind) {
    case 'label-pod': {
      const party = question[change.end];
      if (party.kind !== 'pod') return question;
      return { ...question, [change.end]: { ...party, labels: relabelled(party.labels, change.labels) } };
    }
    case 'label-namespace': {
      const relabel = (party: Party): Party =>
        party.kind === 'pod' && party.namespace === change.namespace
          ? { ...party, namespaceLabels: relabelled(party.namespaceLabels, change.labels) }
          : party;
      return { ...question, from: relabel(question.from), to: relabel(question.to) };
    }
    case 'add-rules':
      return {
        ...question,
        policies: [
          ...question.policies.map((policy) => withRules(policy, change.rules)),
          ...change.rules.flatMap(({ created }) => created ?? []),
        ],
      };
  }
}

/**
 * The changes that allow a denied call, the smallest first: a label more, then rules, then a label that means something else
 * already. Each was applied and judged again before it is proposed.
 */
export function proposeChanges(question: Question, denied: Judgement): readonly Change[] {
  const labels: Change[] = [];
  for (const [side, direction] of [
    ['egress', 'outbound'],
    ['ingress', 'inbound'],
  ] as const) {
    if (denied[side].kind === 'denied') labels.push(...relabellings(question, direction));
  }
  const rules = (['egress', 'ingress'] as const).flatMap((side) => addedRule(question, denied, side));
  const candidates: Change[] = [
    ...labels.filter((change) => !overwrites(question, change)),
    ...(rules.length > 0 ? [{ kind: 'add-rules' as const, rules }] : []),
    ...labels.filter((change) => overwrites(question, change)),
  ];
  return candidates.filter((change) => judge(applyChange(question, change)).verdict === 'allow');
}

function overwrites(question: Question, change: Change): boolean {
  if (change.kind === 'add-rules') return false;
  const parties = change.kind === 'label-pod' ? [question[change.end]] : [question.from, question.to];
  return parties.some((party) => {
    if (party.kind !== 'pod') return false;
    if (change.kind === 'label-namespace' && party.namespace !== change.namespace) return false;
    const labels = change.kind === 'label-pod' ? party.labels : party.namespaceLabels;
    return Object.keys(change.labels).some((key) => Object.hasOwn(labels, key));
  });
}

// The labels that the other end would need for the rule that came closest.
function relabellings(question: Question, direction: 'inbound' | 'outbound'): readonly Change[] {
  const [own, end] =
    direction === 'inbound' ? [question.to, 'from' as const] : [question.from, 'to' as const];
  const other = question[end];
  if (own.kind !== 'pod' || other.kind !== 'pod') return [];
  const rules = new PolicySet(question.policies).selecting(own).flatMap((policy) => policy[direction] ?? []);
  const addresses = callAddresses(question.from, question.to);
  const { namespace, labels, namespaceLabels } = other;
  const address = direction === 'inbound' ? addresses.from : addresses.to;
  const peer = { kind: 'proven', address, namespace, labels, namespaceLabels } as const;
  const { protocol, port } = question;
  const names = direction === 'inbound' ? own.namedPorts : other.namedPorts;
  const miss = closestMiss(rules, { direction, peer, protocol, port }, names);
  const unmet = miss?.unmet ?? [];
  const wanted = unmet.filter((one) => one.kind === 'label');
  if (wanted.length === 0 || wanted.length < unmet.length) return [];
  const of = wanted[0]!.of;
  // Labels of both the pod and its namespace are two changes: a rule is the smaller one.
  if (wanted.some((one) => one.of !== of || one.requirement.key === NAMESPACE_NAME_LABEL)) return [];
  const change = Object.fromEntries(
    wanted.map(({ requirement }) => [requirement.key, satisfying(requirement)]),
  );
  // A workload's selector cannot be changed, and its template has to go on matching it.
  if (of === 'pod' && wanted.some(({ requirement }) => other.fixedLabels?.includes(requirement.key)))
    return [];
  return of === 'pod'
    ? [{ kind: 'label-pod', end, pod: `${namespace}/${other.name}`, labels: change }]
    : [{ kind: 'label-namespace', namespace, labels: change }];
}

function satisfying({ operator, values }: CompiledRequirement): string | undefined {
  if (operator === 'In') return [...values][0];
  return operator === 'Exists' ? 'true' : undefined;
}

function addedRule(
  question: Question,
  denied: Judgement,
  direction: 'ingress' | 'egress',
): readonly AddedRule[] {
  const side = denied[direction];
  // What a cluster policy denies no NetworkPolicy can allow.
  if (side.kind !== 'denied' || side.deniedBy !== undefined) return [];
  const other = direction === 'ingress' ? question.from : question.to;
  const own = direction === 'ingress' ? question.to : question.from;
  const peer = peerFor(other, own);
  if (peer === undefined) return [];
  const ports = [{ protocol: question.protocol, port: question.port, endPort: undefined }];
  const rule = { peers: [peer], ports };
  // The policy that came closest is where its author would look; else the first that isolates.
  const candidates = [...(side.nearestMiss === undefined ? [] : [side.nearestMiss.policy]), ...side.policies];
  const policy = candidates.find((id) => selectsSome(question.policies, id));
  if (policy !== undefined) return [{ policy, direction, rule }];
  const created = own.kind === 'pod' ? policyFor(question, own, direction, rule) : undefined;
  if (created === undefined) return [{ policy: candidates[0]!, direction, rule }];
  return [{ policy: `networkpolicy/${created.namespace}/${created.name}`, direction, rule, created }];
}

function selectsSome(policies: readonly NetworkPolicy[], id: string): boolean {
  return policies.some(
    ({ namespace, name, podSelector: { matchLabels, matchExpressions } }) =>
      `networkpolicy/${namespace}/${name}` === id &&
      (Object.keys(matchLabels).length > 0 || matchExpressions.length > 0),
  );
}

function policyFor(
  { policies }: Question,
  pod: PodParty,
  direction: 'ingress' | 'egress',
  rule: PolicyRule,
): NetworkPolicy | undefined {
  const matchLabels = identifying(pod);
  const [label] = Object.values(matchLabels);
  if (label === undefined) return undefined;
  const stem = `${
    label
      .toLowerCase()
      .replaceAll(/[^a-z0-9]+/g, '-')
      .replaceAll(/^-|-$/g, '') || 'allow'
  }-${direction}`;
  const taken = new Set(policies.filter((one) => one.namespace === pod.namespace).map((one) => one.name));
  let name = stem;
  for (let count = 2; taken.has(name); count++) name = `${stem}-${count}`;
  return {
    namespace: pod.namespace,
    name,
    podSelector: { matchLabels, matchExpressions: [] },
    policyTypes: [direction === 'ingress' ? 'Ingress' : 'Egress'],
    ingress: direction === 'ingress' ? [rule] : [],
    egress: direction === 'egress' ? [rule] : [],
  };
}

function peerFor(other: Party, own: Party): PolicyPeer | undefined {
  if (other.kind === 'address') {
    const family = parseAddress(other.address)?.family;
    if (family === undefined) return undefined;
    return { kind: 'block', cidr: `${other.address}/${family === 4 ? 32 : 128}`, except: [] };
  }
  const matchLabels = identifying(other);
  // A selector of nothing would let the whole namespace in: not what was asked for.
  if (Object.keys(matchLabels).length === 0) return undefined;
  const podSelector = { matchLabels, matchExpressions: [] };
  const sameNamespace = own.kind === 'pod' && own.namespace === other.namespace;
  const namespaceSelector = sameNamespace
    ? undefined
    : { matchLabels: { [NAMESPACE_NAME_LABEL]: other.namespace }, matchExpressions: [] };
  return { kind: 'pods', podSelector, namespaceSelector };
}

/** Labels that say what a workload is, most telling first; those that controllers put on are different for each replica. */
const TELLING = ['app.kubernetes.io/name', 'app', 'k8s-app', 'name', 'app.kubernetes.io/component'];
const PER_REPLICA =
  /^(pod-template-hash|controller-revision-hash|pod-template-generation|statefulset\.kubernetes\.io\/pod-name|apps\.kubernetes\.io\/pod-index|controller-uid|job-name|batch\.kubernetes\.io\/.*)$/;

function identifying(pod: PodParty): Labels {
  const telling = TELLING.find((key) => Object.hasOwn(pod.labels, key));
  if (telling !== undefined) return { [telling]: pod.labels[telling]! };
  return Object.fromEntries(Object.entries(pod.labels).filter(([key]) => !PER_REPLICA.test(key)));
}

function withRules(policy: NetworkPolicy, rules: readonly AddedRule[]): NetworkPolicy {
  const id = `networkpolicy/${policy.namespace}/${policy.name}`;
  const added = (direction: AddedRule['direction']): readonly PolicyRule[] => [
    ...policy[direction],
    ...rules.filter((one) => one.policy === id && one.direction === direction).map((one) => one.rule),
  ];
  return { ...policy, ingress: added('ingress'), egress: added('egress') };
}

function relabelled(labels: Labels, change: Readonly<Record<string, string | undefined>>): Labels {
  const merged = Object.entries({ ...labels, ...change });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
