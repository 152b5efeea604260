import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { KubeControlPlane } from './kube-control-plane.ts';
import { relayBetween } from './relay-between.ts';
import { Cluster } from './sidecars.ts';

const GATEWAY = '10.99.255.254';
const RBAC = join(import.meta.dirname, '../../manifests/kubernetes-source-rbac.yaml');
const PODS = '/api/v1/namespaces/demo/pods';
const POLICIES = '/apis/networking.k8s.io/v1/namespaces/demo/networkpolicies';
const MERGE = 'application/merge-patch+json';

/** Pods with real sidecars that read a real API server themselves, with the rights of the manifest. */
export class ApiCluster {
  readonly plane: KubeControlPlane;
  readonly cluster: Cluster;
  readonly admin: ApiClient;
  /** Of the sidecars: where the API is and who they are there. */
  readonly flags: readonly string[];

  private constructor(plane: KubeControlPlane, cluster: Cluster, admin: ApiClient, flags: readonly string[]) {
    this.plane = plane;
    this.cluster = cluster;
    this.admin = admin;
    this.flags = flags;
  }

  static async start(t: Pick<Test, 'teardown'> & Test): Promise<ApiCluster> {
    const plane = await KubeControlPlane.start(t, { flags: () => [`--advertise-address=${GATEWAY}`] });
    const cluster = new Cluster(t);
    const ended = await relayBetween(
      { enter: ['ip', 'netns', 'exec', cluster.network.name('switch')], at: { host: GATEWAY, port: 6443 } },
      { enter: [], at: { host: '127.0.0.1', port: plane.port } },
      join(plane.folder, 'gateway.sock'),
    );
    t.teardown(ended);
    const admin = plane.client();
    await prepare(plane, admin);
    return new ApiCluster(plane, cluster, admin, await apiFlags(plane, admin, cluster));
  }

  /** Makes a pod in the network and in the API, as kubelet would report it. @returns its uid */
  async pod(name: string, labels: Record<string, string>): Promise<string> {
    this.cluster.pod(name, { labels });
    return createPod(this.admin, this.cluster, name, labels);
  }

  /** @param labels to set; null takes one away */
  async describe(name: string, labels: Record<string, string | null>): Promise<void> {
    await this.admin.request('PATCH', `${PODS}/${name}`, {
      body: { metadata: { labels } },
      contentType: MERGE,
    });
  }

  async delete(name: string): Promise<void> {
    await this.admin.request('DELETE', `${PODS}/${name}`, { body: { gracePeriodSeconds: 0 } });
  }

  /** Isolates the pods with `app` and lets in whoever has `label`. */
  async allow(name: string, app: string, label: Record<string, string>): Promise<void> {
    const from = [{ podSelector: { matchLabels: label } }];
    await this.admin.create(POLICIES, {
      metadata: { name },
      spec: { podSelector: { matchLabels: { app } }, ingress: [{ from }] },
    });
  }

  async deletePolicy(name: string): Promise<void> {
    await this.admin.request('DELETE', `${POLICIES}/${name}`);
  }

  readyz(name: string): Promise<string> {
    return this.cluster.curl(name, 'http://127.0.0.1:14020/readyz').then(({ out }) => out);
  }
}

/** A connection to the port 9090 of {@link GREETER} that says nothing more, and what becomes of it. */
export function hold(cluster: Cluster, from: string, address: string): { said: string } {
  const source = `const s = require('net').connect(9090, '${address}');
    s.on('data', () => console.log('open')).on('error', (e) => console.log(e.code)).on('close', () => console.log('end'));`;
  const held = { said: '' };
  const node = join(cluster.program, '.setup/node');
  const child = cluster.network.start(from, [node, '-e', source], 1_000);
  child.stdout!.on('data', (chunk: Buffer) => (held.said += chunk.toString()));
  return held;
}

/** An application that greets and then waits. */
export const GREETER = `
require('net').createServer((s) => s.on('error', () => {}).write('hello')).listen(9090, '::', () => console.log('up'))`;

async function prepare(plane: KubeControlPlane, admin: ApiClient): Promise<void> {
  await admin.create('/api/v1/namespaces', { metadata: { name: 'demo', labels: { team: 'demo' } } });
  await admin.create('/api/v1/namespaces/demo/serviceaccounts', { metadata: { name: 'default' } });
  const rbac = readFileSync(RBAC, 'utf8').replaceAll(': shop', ': demo').replaceAll(':shop', ':demo');
  await plane.kubectl(['apply', '-f', '-'], rbac);
  await admin.create('/api/v1/nodes', {
    metadata: { name: 'node-1' },
    spec: { podCIDR: '10.99.0.0/17', podCIDRs: ['10.99.0.0/17', 'fd99::/113'] },
  });
  const addresses = [{ type: 'InternalIP', address: GATEWAY }];
  await admin.request('PATCH', '/api/v1/nodes/node-1/status', {
    body: { status: { addresses } },
    contentType: MERGE,
  });
}

/** The pod as kubelet would report it, and the manifest from which its identity is issued. */
async function createPod(
  admin: ApiClient,
  cluster: Cluster,
  name: string,
  labels: Record<string, string>,
): Promise<string> {
  const { four, six } = cluster.addresses.get(name)!;
  await admin.create(PODS, {
    metadata: { name, labels: { ...labels, 'countersign.io/inject': 'true' } },
    spec: { nodeName: 'node-1', serviceAccountName: 'default', containers: [{ name: 'app', image: 'none' }] },
  });
  const status = { phase: 'Running', podIP: four, podIPs: [{ ip: four }, { ip: six }] };
  const pod = await admin.request('PATCH', `${PODS}/${name}/status`, {
    body: { status },
    contentType: MERGE,
  });
  cluster.write(`pod-${name}.yaml`, JSON.stringify({ apiVersion: 'v1', kind: 'Pod', ...(pod as object) }));
  return (pod as { metadata: { uid: string } }).metadata.uid;
}

async function apiFlags(plane: KubeControlPlane, admin: ApiClient, cluster: Cluster): Promise<string[]> {
  const { status } = (await admin.create('/api/v1/namespaces/demo/serviceaccounts/default/token', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {},
  })) as { status: { token: string } };
  const [token, ca] = [join(cluster.folder, 'api-token'), join(cluster.folder, 'api-ca.crt')];
  writeFileSync(token, status.token);
  copyFileSync(plane.caFile, ca);
  for (const file of [token, ca]) chmodSync(file, 0o644);
  const server = ['--api-server', `https://${GATEWAY}:6443`];
  return ['--source', 'kubernetes', ...server, '--api-token', token, '--api-ca', ca];
}
