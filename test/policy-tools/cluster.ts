/** Objects as they are written in manifests, for tests of the tools. */

type Fields = Record<string, unknown>;

export function pod(
  name: string,
  labels: Record<string, string> = {},
  more: { ip?: string | string[]; spec?: Fields; status?: Fields; metadata?: Fields; ports?: Fields[] } = {},
): Fields {
  const [namespace, short] = name.split('/') as [string, string];
  const ips = more.ip === undefined ? [] : [more.ip].flat();
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name: short, labels, ...more.metadata },
    spec: { containers: [{ name: 'c', image: 'i', ports: more.ports ?? [] }], ...more.spec },
    status: {
      phase: 'Running',
      ...(ips.length === 0 ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
      ...more.status,
    },
  };
}

export function namespace(name: string, labels: Record<string, string> = {}): Fields {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

export function node(name: string, address: string, labels: Record<string, string> = {}): Fields {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
    status: { addresses: [{ type: 'InternalIP', address }] },
  };
}

export function policy(name: string, spec: unknown): Fields {
  const [namespace, short] = name.split('/') as [string, string];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name: short },
    spec,
  };
}

export function workload(
  kind: string,
  name: string,
  labels: Record<string, string>,
  ports: Fields[] = [],
): Fields {
  const [namespace, short] = name.split('/') as [string, string];
  const template = { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'i', ports }] } };
  const spec =
    kind === 'CronJob'
      ? { jobTemplate: { spec: { template } } }
      : kind === 'Job'
        ? { template }
        : { selector: { matchLabels: labels }, template };
  const apiVersion = kind.endsWith('Job') ? 'batch/v1' : 'apps/v1';
  return { apiVersion, kind, metadata: { namespace, name: short }, spec };
}

export function clusterPolicy(name: string, spec: Fields, kind = 'ClusterNetworkPolicy'): Fields {
  const version = kind === 'ClusterNetworkPolicy' ? 'v1alpha2' : 'v1alpha1';
  return { apiVersion: `policy.networking.k8s.io/${version}`, kind, metadata: { name }, spec };
}
