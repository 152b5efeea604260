import { KubeProxyRules } from '../test/support/kube-proxy-rules.ts';
import type { Place } from './place.ts';
import type { Mode, Sidecars } from './sidecars.ts';
import type { Variant } from './variant.ts';

const PORT = 9000;
const REPLICAS = 3;

/** Replicas behind a Service: in redirect mode the sidecar picks one, in NFQUEUE mode the network does, as kube-proxy would. */
interface ServiceKind {
  readonly id: string;
  readonly carrier: Mode['carrier'];
  /** Of its pods' names; short, since devices bear them. */
  readonly short: string;
  readonly address: string;
}

const SERVICES: readonly ServiceKind[] = [
  { id: 'countersign-service', carrier: 'redirect', short: 'cs', address: '10.96.0.10' },
  { id: 'countersign-nfqueue-service', carrier: 'nfqueue', short: 'csq', address: '10.96.0.11' },
];

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
 * The variants with sidecars, each between two pods of its own, and those behind Services. `onProblem` hears of one that does not start;
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
  for (const kind of SERVICES.filter(({ id }) => wanted(id))) {
    try {
      variants.push(await behindService(place, sidecars, kind));
    } catch (error) {
      onProblem(kind.id, error);
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

async function behindService(
  place: Place,
  sidecars: Sidecars,
  { id, carrier, short, address }: ServiceKind,
): Promise<Variant> {
  const client = `${short}-service-c`;
  const servers = Array.from({ length: REPLICAS }, (_, at) => `${short}-replica-${at + 1}`);
  const kind: Kind = { id, title: '', mode: { carrier } };
  const own = pod(place, client, 'client', kind);
  const addresses = servers.map((name) => pod(place, name, 'server', kind));
  place.cluster.write(`service-${carrier}.yaml`, serviceOf(`replicas-${carrier}`, address, addresses));
  if (carrier === 'nfqueue') {
    const rules = await KubeProxyRules.open(place.cluster.network, carrier, address, 80);
    const pods = servers.map((host, at) => ({ host, address: addresses[at]!, port: PORT }));
    await rules.leadTo(pods, [own]);
  }
  const application = await Promise.all(servers.map((name) => place.serve(name, PORT)));
  await Promise.all([...servers, client].map((name) => sidecars.start(name, kind.mode)));
  return {
    id,
    title: `**Countersign, ${carrier}, ${REPLICAS} replicas behind a Service**`,
    client,
    servers,
    target: { address, port: 80 },
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

function serviceOf(name: string, address: string, addresses: readonly string[]): string {
  const endpoints = addresses.map((one) => `- {addresses: [${one}], conditions: {ready: true}}`);
  return `apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: demo}
spec: {clusterIP: ${address}, clusterIPs: [${address}], ports: [{name: load, port: 80, targetPort: ${PORT}, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: ${name}-1, namespace: demo, labels: {kubernetes.io/service-name: ${name}}}
addressType: IPv4
ports: [{name: load, port: ${PORT}, protocol: TCP}]
endpoints:
${endpoints.join('\n')}
`;
}
