import { CLUSTER_FORMS } from '../policy/cluster-forms.ts';
import { dnsLabelFault, dnsSubdomainFault } from '../policy/syntax.ts';

/** A kind of object that decides something in the tools. */
export interface ObjectKind {
  readonly kind: string;
  readonly apiVersions: readonly string[];
  readonly scope: 'namespaced' | 'cluster';
  /** What kubectl calls it for short. */
  readonly short: string;
  readonly nameFault: (name: string) => string | undefined;
  /** Where the template of its pods is, for kinds that make pods. */
  readonly template?: readonly string[];
}

const workload = (
  kind: string,
  apiVersion: string,
  short: string,
  template: readonly string[],
): ObjectKind => ({
  kind,
  apiVersions: [apiVersion],
  scope: 'namespaced',
  short,
  nameFault: dnsSubdomainFault,
  template,
});
const cluster = (kind: string, apiVersions: readonly string[], short: string): ObjectKind => ({
  kind,
  apiVersions,
  scope: 'cluster',
  short,
  nameFault: dnsSubdomainFault,
});
const TEMPLATE = ['spec', 'template'];
const KINDS: readonly ObjectKind[] = [
  { ...cluster('Namespace', ['v1'], 'ns'), nameFault: dnsLabelFault },
  cluster('Node', ['v1'], 'no'),
  { kind: 'Pod', apiVersions: ['v1'], scope: 'namespaced', short: 'pod', nameFault: dnsSubdomainFault },
  workload('Deployment', 'apps/v1', 'deploy', TEMPLATE),
  workload('StatefulSet', 'apps/v1', 'sts', TEMPLATE),
  workload('DaemonSet', 'apps/v1', 'ds', TEMPLATE),
  workload('ReplicaSet', 'apps/v1', 'rs', TEMPLATE),
  workload('ReplicationController', 'v1', 'rc', TEMPLATE),
  workload('Job', 'batch/v1', 'job', TEMPLATE),
  workload('CronJob', 'batch/v1', 'cronjob', ['spec', 'jobTemplate', 'spec', 'template']),
  {
    kind: 'NetworkPolicy',
    apiVersions: ['networking.k8s.io/v1'],
    scope: 'namespaced',
    short: 'netpol',
    nameFault: dnsSubdomainFault,
  },
  ...CLUSTER_FORMS.map((form) => cluster(form.kind, [form.apiVersion], form.kind.toLowerCase())),
];
const BY_KIND = new Map(KINDS.map((kind) => [kind.kind, kind]));
const BY_SHORT = new Map(
  KINDS.flatMap((kind) => [
    [kind.short, kind],
    [kind.kind.toLowerCase(), kind],
    [`${kind.kind.toLowerCase()}s`, kind],
  ]),
);

/** The kind of that name; undefined for kinds that no verdict depends on. */
export function objectKind(kind: string): ObjectKind | undefined {
  return BY_KIND.get(kind);
}

/** The kind that somebody means by `deploy`, `deployment`, `deployments` or `Deployment`. */
export function workloadKind(text: string): ObjectKind | undefined {
  const kind = BY_SHORT.get(text.toLowerCase());
  return kind?.kind === 'Pod' || kind?.template !== undefined ? kind : undefined;
}
