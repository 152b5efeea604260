import type { Place } from './place.ts';
import type { Mode, Sidecars } from './sidecars.ts';
import type { Variant } from './variant.ts';

const PORT = 9000;
const SERVICE_ADDRESS = '10.96.0.10';
const REPLICAS = 3;

/** Default deny in both directions, and what the load needs: every connection is decided by a rule, at both ends. */
export const POLICIES = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: demo}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients-call-servers, namespace: demo}
spec:
  podSelector: {matchLabels: {role: client}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {role: server}}}]
    ports: [{port: ${PORT}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: servers-take-clients, namespace: demo}
spec:
  podSelector: {matchLabels: {role: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {role: client}}}]
    ports: [{port: ${PORT}}]
`;

export interface Kind {
  readonly id: string;
  readonly title: string;
  readonly mode: Mode;
  readonly fastOpen?: boolean;
}

const KINDS: readonly Kind[] = [
  { id: 'countersign', title: '**Countersign, redirect**', mode: { carrier: 'redirect' } },
  {
    id: 'countersign-fastopen',
    title: '**Countersign, redirect, Fast Open**',
    mode: { carrier: 'redirect' },
    fastOpen: true,
  },
  {
    id: 'countersign-first',
    title: '**Countersign, redirect, first contact each time**',
    mode: { carrier: 'redirect', forgetful: true },
  },
  { id: 'countersign-nfqueue', title: '**Countersign, nfqueue**', mode: { carrier: 'nfqueue' } },
  {
    id: 'countersign-nfqueue-first',
    title: '**Countersign, nfqueue, first contact each time**',
    mode: { carrier: 'nfqueue', forgetful: true },
  },
];

/**
 * The variants with sidecars, each between two pods of its own, and one behind a Service. `onProblem` hears of one that does not start;
 * `wanted` says which to make.
 */
export async function sidecarVariants(
  place: Place,
  sidecars: Sidecars,
  wanted: (id: string) => boolean,
  onProblem: (variant: string, error: unknown) => void,
): Promise<Variant[]> {
  const { cluster } = place;
  cluster.write('policies.yaml', POLICIES);
  const variants: Variant[] = [];
  for (const kind of KINDS.filter(({ id }) => wanted(id))) {
    try {
      variants.push(await betweenTwoPods(place, sidecars, kind));
    } catch (error) {
      onProblem(kind.id, error);
    }
  }
  const id = 'countersign-service';
  if (wanted(id)) {
    try {
      variants.push(await behindService(place, sidecars, id));
    } catch (error) {
      onProblem(id, error);
    }
  }
  return variants;
}

/** The sidecars of a client and a server, and the application. */
export async function betweenTwoPods(place: Place, sidecars: Sidecars, kind: Kind): Promise<Variant> {
  const [client, server] = ['c', 's'].map((end) => `${kind.id}-${end}`.replace('countersign', 'cs'));
  const target = { address: pod(place, server!, 'server', kind), port: PORT };
  pod(place, client!, 'client', kind);
  const application = [await place.serve(server!, PORT)];
  await Promise.all([server!, client!].map((name) => sidecars.start(name, kind.mode)));
  return {
    id: kind.id,
    title: kind.title,
    client: client!,
    servers: [server!],
    target,
    proxies: [client!, server!].map((name) => sidecars.pid(name)),
    application,
    proves: true,
    forgetful: kind.mode.forgetful ?? false,
  };
}

async function behindService(place: Place, sidecars: Sidecars, id: string): Promise<Variant> {
  const client = 'cs-service-c';
  const servers = Array.from({ length: REPLICAS }, (_, at) => `cs-replica-${at + 1}`);
  const kind: Kind = { id, title: '', mode: { carrier: 'redirect' } };
  pod(place, client, 'client', kind);
  const addresses = servers.map((name) => pod(place, name, 'server', kind));
  place.cluster.write('service.yaml', serviceOf(addresses));
  const application = await Promise.all(servers.map((name) => place.serve(name, PORT)));
  await Promise.all([...servers, client].map((name) => sidecars.start(name)));
  return {
    id,
    title: '**Countersign, redirect, 3 replicas behind a Service**',
    client,
    servers,
    target: { address: SERVICE_ADDRESS, port: 80 },
    proxies: [client, ...servers].map((name) => sidecars.pid(name)),
    application,
    proves: true,
  };
}

/** Makes a pod. @returns its address */
function pod(place: Place, name: string, role: string, { mode, fastOpen = false }: Kind): string {
  const { four } = place.cluster.pod(name, { labels: { role }, mode: mode.carrier });
  place.quieten(name);
  // Both sides, as an administrator would set it; otherwise the kernel's default, which is the client side alone.
  if (fastOpen) place.cluster.network.sysctl(name, 'net.ipv4.tcp_fastopen', '3');
  return four;
}

function serviceOf(addresses: readonly string[]): string {
  const endpoints = addresses.map((address) => `- {addresses: [${address}], conditions: {ready: true}}`);
  return `apiVersion: v1
kind: Service
metadata: {name: replicas, namespace: demo}
spec: {clusterIP: ${SERVICE_ADDRESS}, clusterIPs: [${SERVICE_ADDRESS}], ports: [{name: load, port: 80, targetPort: ${PORT}, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: replicas-1, namespace: demo, labels: {kubernetes.io/service-name: replicas}}
addressType: IPv4
ports: [{name: load, port: ${PORT}, protocol: TCP}]
endpoints:
${endpoints.join('\n')}
`;
}
