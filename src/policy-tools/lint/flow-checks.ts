import { Judge, type Party } from '../../policy/judge.ts';
import type { NetworkPolicy, PolicyRule, Protocol } from '../../policy/model.ts';
import { Ends } from '../../workloads/ends.ts';
import type { Workload } from '../../workloads/workload.ts';
import { type Finding, type LintInput, policyName, rulesOf, someOf } from './finding.ts';
import { namedBy, selectedBy } from './matching.ts';

/** Pairs of pods that one rule is tried with: enough to be sure that none gets through, bounded for large clusters. */
const MOST_TRIED = 400;

/** Rules whose flows the other side refuses, every one: the allow is written on one side only. */
export function* oneSidedAllows(input: LintInput): Generator<Finding> {
  const { inventory, pods } = input;
  const ends = new Ends(inventory);
  const judge = new Judge(inventory.policies, inventory.clusterPolicies);
  for (const policy of inventory.policies) {
    const own = selectedBy(policy, pods);
    for (const { direction, rule, field } of rulesOf(policy)) {
      if (!policy.policyTypes.includes(direction === 'ingress' ? 'Ingress' : 'Egress')) continue;
      const refused = refusedEverywhere(policy, rule, direction, own, input, ends, judge);
      if (refused === undefined) continue;
      const other = direction === 'ingress' ? 'egress' : 'ingress';
      yield {
        rule: 'one-sided-allow',
        level: 'warning',
        object: policyName(policy),
        field,
        why:
          `it lets ${refused.from} call ${refused.to} on ${refused.port}, and ${other} of ` +
          `${direction === 'ingress' ? refused.from : refused.to} refuses it: isolated by ${someOf(refused.policies)}`,
        remedy: `allow the same flow under ${other} there; «countersign policy explain» writes the rule`,
      };
    }
  }
}

interface Refused {
  readonly from: string;
  readonly to: string;
  readonly port: string;
  readonly policies: readonly string[];
}

function refusedEverywhere(
  policy: NetworkPolicy,
  rule: PolicyRule,
  direction: 'ingress' | 'egress',
  own: readonly Workload[],
  { inventory, pods }: LintInput,
  ends: Ends,
  judge: Judge,
): Refused | undefined {
  const peers = (rule.peers ?? []).flatMap((peer) =>
    peer.kind === 'pods' ? namedBy(peer, policy.namespace, pods, inventory) : [],
  );
  // A rule that allows blocks or everybody too is not about these pods alone.
  if (peers.length === 0 || rule.peers?.some((peer) => peer.kind === 'block')) return undefined;
  let first: Refused | undefined;
  let tried = 0;
  for (const pod of own) {
    for (const peer of peers) {
      if (pod === peer) continue;
      const [from, to] = direction === 'ingress' ? [peer, pod] : [pod, peer];
      for (const { protocol, port } of portsOf(rule, to)) {
        if (++tried > MOST_TRIED) return undefined;
        const call = { from: ends.of(from), to: ends.of(to), protocol, port };
        const judgement = judge.judge(call);
        const [side, otherSide] =
          direction === 'ingress'
            ? [judgement.ingress, judgement.egress]
            : [judgement.egress, judgement.ingress];
        if (side.kind !== 'allowed') continue;
        if (otherSide.kind !== 'denied') return undefined;
        first ??= {
          from: nameOf(call.from),
          to: nameOf(call.to),
          port: `${protocol} ${port}`,
          policies: otherSide.policies,
        };
      }
    }
  }
  return first;
}

function portsOf(rule: PolicyRule, target: Workload): { protocol: Protocol; port: number }[] {
  if (rule.ports === undefined || rule.ports.length === 0) {
    const [named] = target.namedPorts;
    return target.namedPorts.length > 0
      ? [...target.namedPorts]
      : [named ?? { protocol: 'TCP', port: 65_535 }];
  }
  return rule.ports.flatMap(({ protocol, port }) => {
    if (typeof port === 'number') return [{ protocol, port }];
    return target.namedPorts.filter(
      (one) => one.protocol === protocol && (port === undefined || one.name === port),
    );
  });
}

/** Pods that may not ask DNS: nearly every program does, and the symptom is a time-out of something else. */
export function* noDns({ inventory, pods }: LintInput): Generator<Finding> {
  const ends = new Ends(inventory);
  const judge = new Judge(inventory.policies, inventory.clusterPolicies);
  const told = new Map<string, string[]>();
  for (const pod of pods) {
    const policies = inventory.policies.filter(
      (one) => one.policyTypes.includes('Egress') && selectedBy(one, [pod]).length > 0,
    );
    if (policies.length === 0 || policies.some(allowsDnsSomewhere)) continue;
    // A rule for all ports of certain pods may be meant for DNS; whether those answer it cannot be known.
    if (judge.judge({ from: ends.of(pod), to: NOWHERE, protocol: 'UDP', port: 53 }).egress.kind === 'allowed')
      continue;
    const id = policyName(policies[0]!);
    told.set(id, [...(told.get(id) ?? []), `${pod.namespace}/${pod.name}`]);
  }
  for (const [object, names] of told) {
    yield {
      rule: 'no-dns',
      level: 'note',
      object,
      field: 'spec.egress',
      why: `${someOf(names)} may not ask DNS: no egress rule allows UDP 53 to anybody`,
      remedy:
        'if they look up names, allow UDP and TCP 53 to pods with k8s-app=kube-dns of namespace kube-system',
    };
  }
}

const NOWHERE: Party = { kind: 'address', address: '' };

function allowsDnsSomewhere(policy: NetworkPolicy): boolean {
  return policy.egress.some(
    ({ ports }) =>
      ports === undefined ||
      ports.length === 0 ||
      ports.some(
        ({ protocol, port, endPort }) =>
          protocol === 'UDP' &&
          (port === undefined ||
            (typeof port === 'string' && /dns|domain/.test(port)) ||
            (typeof port === 'number' && port <= 53 && 53 <= (endPort ?? port))),
      ),
  );
}

function nameOf(party: Party): string {
  return party.kind === 'pod' ? `${party.namespace}/${party.name}` : party.address;
}
