import type { NetworkPolicy } from '../../src/policy/model.ts';

/** The simulated cluster: how many of what. */
export interface Size {
  readonly sidecars: number;
  readonly pods: number;
  readonly policies: number;
  readonly namespaces: number;
}

export const SYSTEM = 'countersign-system';
export const AUDIENCE = 'countersign-authority';
export const CA_CONFIG_MAP = 'countersign-ca';
/** The label that the benchmark changes; policies carry their serial in a port. */
export const SERIAL_LABEL = 'serial';
const FIRST_PORT = 10_000;
const APPS = 10;
const PEERS = 9;
const PODS_PER_SERVICE = 20;
const PODS_PER_NODE = 50;

export interface Place {
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
}

/** The pod of a number: pods fill the namespaces in turn. */
export function podAt(index: number, { namespaces }: Size): Place {
  return {
    namespace: `ns-${index % namespaces}`,
    name: `pod-${index}`,
    address: `10.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
  };
}

/** A loopback address for each sidecar. */
export function sourceAddress(index: number): string {
  return `127.1.${index >> 8}.${index & 255}`;
}

/** The pods that a sidecar talks to: those after it among the pods with sidecars. */
export function peersOf(index: number, size: Size): number[] {
  const count = Math.min(PEERS, size.sidecars - 1);
  return Array.from({ length: count }, (_, at) => (index + at + 1) % size.sidecars);
}

export function rawPod(index: number, size: Size): Record<string, unknown> {
  const { namespace, name } = podAt(index, size);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      labels: {
        app: `app-${Math.floor(index / size.namespaces) % APPS}`,
        'pod-template-hash': '7c9d8b6f5',
        version: 'v1',
        'countersign.io/inject': 'true',
      },
      annotations: { 'example.com/of-others': 'y'.repeat(500) },
    },
    spec: {
      nodeName: `node-${Math.floor(index / PODS_PER_NODE)}`,
      serviceAccountName: 'default',
      automountServiceAccountToken: false,
      initContainers: [{ name: 'countersign-proxy', image: 'countersign:1', restartPolicy: 'Always' }],
      containers: [{ name: 'app', image: 'app:1', ports: [{ name: 'http', containerPort: 8080 }] }],
    },
  };
}

export function podStatus(index: number, size: Size): object {
  const { address } = podAt(index, size);
  return { phase: 'Running', podIP: address, podIPs: [{ ip: address }] };
}

/** Policies fill the namespaces in turn; the first of each selects all its pods, the others one application. `serial` stands in a port. */
export function rawPolicy(index: number, size: Size, serial = 0): Record<string, unknown> {
  const row = Math.floor(index / size.namespaces);
  const matchLabels = row === 0 ? {} : { app: `app-${row % APPS}` };
  const from = [{ podSelector: { matchLabels: { version: 'v1' } } }, { namespaceSelector: {} }];
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace: `ns-${index % size.namespaces}`, name: `policy-${index}` },
    spec: {
      podSelector: { matchLabels },
      policyTypes: ['Ingress'],
      ingress: [{ from, ports: [{ protocol: 'TCP', port: FIRST_PORT + serial }] }],
    },
  };
}

/** The serial of {@link rawPolicy}, from a policy as a sidecar has it. */
export function policySerial(policy: NetworkPolicy): number {
  const port = policy.ingress[0]?.ports?.[0]?.port;
  return typeof port === 'number' ? port - FIRST_PORT : 0;
}

/** Everything that is there before the pods. */
export function groundObjects(size: Size): Record<string, unknown>[] {
  const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
  const nodes = range(Math.ceil(size.pods / PODS_PER_NODE)).map((at) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `node-${at}` },
    spec: { podCIDRs: [`10.${64 + (at >> 8)}.${at & 255}.0/24`] },
  }));
  return [...nodes, ...range(size.policies).map((at) => rawPolicy(at, size))];
}

/** A Service of twenty endpoints and its EndpointSlice for each twenty pods from `first` on. */
export function serviceObjects(first: number, end: number, size: Size): Record<string, unknown>[] {
  const objects: Record<string, unknown>[] = [];
  for (let at = first; at + PODS_PER_SERVICE <= end; at += PODS_PER_SERVICE) {
    const { namespace } = podAt(at, size);
    const name = `service-${at}`;
    const number = at / PODS_PER_SERVICE;
    const clusterIP = `10.96.${64 + (number >> 8)}.${number & 255}`;
    objects.push({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace, name },
      spec: { clusterIP, clusterIPs: [clusterIP], ports: [{ port: 80 }] },
    });
    objects.push({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace, name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ port: 8080, protocol: 'TCP' }],
      endpoints: Array.from({ length: PODS_PER_SERVICE }, (_, one) => ({
        addresses: [podAt(at + one, size).address],
        conditions: { ready: true },
      })),
    });
  }
  return objects;
}

/** Sidecars among the first `connected` to which a change of the first policy of a namespace matters. */
export function receiversOfPolicy(namespace: number, connected: number, size: Size): string[] {
  const names: string[] = [];
  for (let at = namespace; at < connected; at += size.namespaces) names.push(nameOf(at, size));
  return names;
}

/** The pod itself, and those that talk to it. */
export function receiversOfPod(index: number, connected: number, size: Size): string[] {
  const names: string[] = [];
  for (let at = 0; at < connected; at++) {
    if (at === index || peersOf(at, size).includes(index)) names.push(nameOf(at, size));
  }
  return names;
}

export function nameOf(index: number, size: Size): string {
  const { namespace, name } = podAt(index, size);
  return `${namespace}/${name}`;
}
