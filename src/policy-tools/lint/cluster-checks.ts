import type { ClusterPolicy, PodSelection } from '../../policy/cluster-model.ts';
import type { Workload } from '../../workloads/workload.ts';
import { type Finding, type LintInput, someOf } from './finding.ts';
import { namedBy } from './matching.ts';

/** Cluster policies of one tier and priority that are about the same pods: the API leaves open which one is asked first. */
export function* equalPriorities({ inventory, pods }: LintInput): Generator<Finding> {
  const { clusterPolicies } = inventory;
  for (const [index, one] of clusterPolicies.entries()) {
    for (const other of clusterPolicies.slice(index + 1)) {
      if (one.tier !== other.tier || one.priority !== other.priority || !mayDisagree(one, other)) continue;
      const theirs = new Set(subjectsOf(other.subject, { inventory, pods }));
      const both = subjectsOf(one.subject, { inventory, pods }).filter((pod) => theirs.has(pod));
      if (both.length === 0) continue;
      yield {
        rule: 'equal-priority',
        level: 'warning',
        object: nameOf(one),
        field: 'spec.priority',
        why: `${nameOf(other)} has priority ${one.priority} in the ${one.tier} tier too, both select ${someOf(both.map((pod) => `${pod.namespace}/${pod.name}`))} and their actions differ: which comes first is up to the network plugin (here: by name)`,
        remedy: 'give them different priorities',
      };
    }
  }
}

/** Cluster policies that select no pod. */
export function* clusterSelectsNothing({ inventory, pods }: LintInput): Generator<Finding> {
  if (pods.length === 0) return;
  for (const policy of inventory.clusterPolicies) {
    if (subjectsOf(policy.subject, { inventory, pods }).length > 0) continue;
    yield {
      rule: 'selects-nothing',
      level: 'warning',
      object: nameOf(policy),
      field: 'spec.subject',
      why: 'no pod here is selected: the policy does nothing (pods of the node network are never selected)',
      remedy: 'correct the selectors, or add the workloads and namespaces to the input',
    };
  }
}

function subjectsOf(subject: PodSelection, { inventory, pods }: LintInput): Workload[] {
  return namedBy({ kind: 'pods', ...subject }, '', pods, inventory);
}

function mayDisagree(one: ClusterPolicy, other: ClusterPolicy): boolean {
  return (['ingress', 'egress'] as const).some((direction) => {
    const actions = [...one[direction], ...other[direction]].map(({ action }) => action);
    return one[direction].length > 0 && other[direction].length > 0 && new Set(actions).size > 1;
  });
}

const KINDS: Readonly<Record<string, string>> = {
  clusternetworkpolicy: 'ClusterNetworkPolicy',
  adminnetworkpolicy: 'AdminNetworkPolicy',
  baselineadminnetworkpolicy: 'BaselineAdminNetworkPolicy',
};

function nameOf({ id }: ClusterPolicy): string {
  const [kind = '', name = ''] = id.split('/');
  return `${KINDS[kind] ?? kind} /${name}`;
}
