import type { Inventory } from '../../workloads/inventory.ts';
import { standing } from '../end-groups.ts';
import { clusterSelectsNothing, equalPriorities } from './cluster-checks.ts';
import type { Check, Finding } from './finding.ts';
import { noDns, oneSidedAllows } from './flow-checks.ts';
import {
  emptyLists,
  missingNamespaces,
  oddFields,
  refusedObjects,
  rulesWithoutType,
} from './object-checks.ts';
import { blocksOverCluster, hostNetworkPods, pluginDifferences, portNames } from './portability-checks.ts';
import { coveredRules, unknownPortNames } from './rule-checks.ts';
import { reservedLabels, selectsNothing } from './selector-checks.ts';

/** One line for each rule, for SARIF and the documentation. */
export const LINT_RULES: Readonly<Record<string, string>> = {
  'refused-object': 'The API server refuses the object',
  'unknown-field': 'A field that the API does not know',
  'odd-value': 'A value that is read otherwise than it looks',
  'rules-without-type': 'Rules for a direction that policyTypes does not list',
  'empty-means-everybody': 'An empty list that means everybody',
  'namespace-missing': 'A namespace without its manifest',
  'selects-nothing': 'A policy that selects no pod',
  'peer-selects-nothing': 'An entry that names no pod',
  'reserved-label': 'A label that Countersign reserves',
  'namespace-label-on-pods': 'A label of namespaces asked for on pods',
  'passing-label': 'A label that changes with every rollout',
  'rule-never-matters': 'A rule that another one covers',
  'port-name-unknown': 'A named port that nobody has',
  'one-sided-allow': 'A flow allowed on one side and refused on the other',
  'no-dns': 'Isolated pods that may not ask DNS',
  'block-over-cluster': 'An ipBlock that holds addresses of pods or nodes',
  'plugin-end-port': 'endPort, which some network plugins ignore',
  'plugin-sctp': 'SCTP, which some network plugins do not handle',
  'host-network': 'A policy that selects pods of the node network',
  'equal-priority': 'Cluster policies of equal priority that may disagree',
  'port-name-twice': 'One name for several ports of a pod',
};

const CHECKS: readonly Check[] = [
  refusedObjects,
  oddFields,
  rulesWithoutType,
  emptyLists,
  selectsNothing,
  clusterSelectsNothing,
  equalPriorities,
  coveredRules,
  unknownPortNames,
  oneSidedAllows,
  blocksOverCluster,
  reservedLabels,
  hostNetworkPods,
  portNames,
  noDns,
  missingNamespaces,
  pluginDifferences,
];

const ORDER = { error: 0, warning: 1, note: 2 };

/** Everything that is worth telling about manifests, the worst first. */
export function lint(inventory: Inventory): Finding[] {
  const pods = standing(inventory.workloads).filter((one) => !one.hostNetwork);
  const findings = CHECKS.flatMap((check) => [...check({ inventory, pods })]).map((finding) => ({
    ...finding,
    origin: finding.origin ?? inventory.origins.get(finding.object),
  }));
  return findings.toSorted((a, b) => ORDER[a.level] - ORDER[b.level]);
}
