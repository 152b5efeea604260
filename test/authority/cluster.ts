import { ClusterLookup } from '../../src/authority/cluster-lookup.ts';
import { type ObjectChange, objectName } from '../../src/sources/cluster-contents.ts';
import { type ClusterObject, decodeObject } from '../../src/sources/objects.ts';

interface PodOptions {
  readonly namespace?: string;
  readonly uid?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly address?: string;
  readonly node?: string;
  readonly serviceAccount?: string;
  readonly enrolled?: boolean;
  readonly phase?: string;
  readonly deleting?: boolean;
  readonly restarts?: number;
  readonly image?: string;
}

/** A Pod as the API server has it. */
export function rawPod(name: string, options: PodOptions = {}): Record<string, unknown> {
  const { namespace = 'shop', enrolled = true } = options;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      uid: options.uid ?? `uid-${name}`,
      labels: { ...options.labels, ...(enrolled ? { 'countersign.io/inject': 'true' } : {}) },
      ...(options.deleting === true ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      nodeName: options.node ?? 'node-1',
      serviceAccountName: options.serviceAccount ?? 'default',
      initContainers: enrolled
        ? [{ name: 'countersign-proxy', image: options.image ?? 'countersign:1', restartPolicy: 'Always' }]
        : [],
      containers: [{ name: 'app', image: 'app', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
    status: {
      phase: options.phase ?? 'Running',
      podIPs: [{ ip: options.address ?? '10.1.0.1' }],
      initContainerStatuses: [{ name: 'countersign-proxy', restartCount: options.restarts ?? 0 }],
    },
  };
}

export const NODE = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: 'node-1', labels: { zone: 'a' } },
  spec: { podCIDRs: ['10.1.0.0/24'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
};

export function rawNamespace(name: string, labels: Readonly<Record<string, string>> = {}): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

export function rawPolicy(name: string, selected: object, namespace = 'shop', spec: object = {}): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec: { podSelector: { matchLabels: selected }, ...spec },
  };
}

export function rawService(name: string, address: string, namespace = 'shop'): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name },
    spec: { clusterIP: address, clusterIPs: [address], ports: [{ port: 80, name: 'http' }] },
  };
}

export function rawSlice(service: string, addresses: readonly string[], namespace = 'shop'): object {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: `${service}-1`, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080 }],
    endpoints: addresses.map((one) => ({ addresses: [one], conditions: { ready: true } })),
  };
}

/** Objects that were decoded once stay the same objects, as a watch keeps them. */
const decoded = new WeakMap<object, ClusterObject>();

export function cluster(...raws: readonly object[]): ClusterObject[] {
  return raws.map((raw) => {
    let object = decoded.get(raw);
    if (object === undefined) {
      const made = decodeObject(raw);
      if (made === 'ignored' || !('object' in made)) throw new Error(JSON.stringify(made));
      decoded.set(raw, (object = made.object));
    }
    return object;
  });
}

/** What a watch tells between two states. */
export function changesBetween(
  before: readonly ClusterObject[],
  after: readonly ClusterObject[],
): ObjectChange[] {
  const [old, now] = [before, after].map((all) => new Map(all.map((one) => [objectName(one), one] as const)));
  return [...new Set([...old!.keys(), ...now!.keys()])]
    .map((name) => ({ name, before: old!.get(name), after: now!.get(name) }))
    .filter((change) => change.before !== change.after);
}

/** Where two states differ, as streams are told. */
export function changedKeys(before: readonly ClusterObject[], after: readonly ClusterObject[]): Set<string> {
  return new ClusterLookup(before).apply(changesBetween(before, after));
}
