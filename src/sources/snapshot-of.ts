import { buildDirectory } from '../peers/table.ts';
import type { ClusterContents } from './cluster-contents.ts';
import { enforcementMode } from './enforcement.ts';
import type { EnforcementMode, Snapshot, SourceProblem } from './source.ts';

/** Whose snapshot it is, and what the contents do not tell. */
export interface SnapshotOptions {
  /** `namespace/name` of the own pod. */
  readonly pod: string;
  /** The mode of the process: what holds where neither pod nor namespace says anything. */
  readonly mode: EnforcementMode;
  /** The pod network, where no Node tells it by `spec.podCIDRs`. */
  readonly podCidrs?: readonly string[];
  /** Where the default routes of the own pod lead, where that is known. */
  readonly gateways?: readonly string[];
}

/**
 * The own pod's view of a cluster, with what is odd about it. Pure.
 * @param version of the snapshot to be
 * @param takenAt milliseconds since the epoch
 * @returns undefined when the own pod is not there
 */
export function snapshotOf(
  contents: ClusterContents,
  { pod: wanted, mode: processMode, podCidrs = [], gateways = [] }: SnapshotOptions,
  version: number,
  takenAt: number,
): { readonly snapshot: Snapshot; readonly problems: readonly SourceProblem[] } | undefined {
  const own = contents.pods.find(({ pod }) => `${pod.namespace}/${pod.name}` === wanted);
  if (own === undefined) return undefined;
  const { namespace, labels } = own.pod;
  const problems: SourceProblem[] = [];
  const ownGateways =
    own.pod.nodeName === undefined ? {} : { ownGateways: { node: own.pod.nodeName, addresses: gateways } };
  const directory = buildDirectory({ ...contents, podCidrs, ...ownGateways }, (address, pods) => {
    const names = pods.map((pod) => `pod/${pod.namespace}/${pod.name}`).join(' and ');
    problems.push({ object: names, reason: `have the same address ${address}; the first one counts` });
  });
  const { mode, problem } = enforcementMode(
    { annotations: own.annotations, labels },
    contents.namespaces.find((one) => one.name === namespace),
    processMode,
  );
  if (problem !== undefined) problems.push({ object: `pod/${wanted}`, reason: problem });
  const snapshot: Snapshot = {
    version,
    takenAt,
    self: own.pod,
    selfNamespaceLabels: directory.namespaceLabels(namespace),
    mode,
    policies: contents.policies,
    clusterPolicies: contents.clusterPolicies,
    directory,
  };
  return { snapshot, problems };
}
