import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { cannotNetns } from '../support/netns.ts';
import { relayBetween } from '../support/relay-between.ts';
import { Cluster, HTTP_APP } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

const GATEWAY = '10.99.255.254';
const RBAC = join(import.meta.dirname, '../../manifests/kubernetes-source-rbac.yaml');
const POLICIES = '/apis/networking.k8s.io/v1/namespaces/demo/networkpolicies';
const PODS = '/api/v1/namespaces/demo/pods';
const MERGE = 'application/merge-patch+json';

t.test('sidecars that read a real API server themselves', { skip, timeout: 590_000 }, async (t) => {
  const plane = await KubeControlPlane.start(t, { flags: () => [`--advertise-address=${GATEWAY}`] });
  const cluster = new Cluster(t);
  const admin = plane.client();
  const ended = await relayBetween(
    { enter: ['ip', 'netns', 'exec', cluster.network.name('switch')], at: { host: GATEWAY, port: 6443 } },
    { enter: [], at: { host: '127.0.0.1', port: plane.port } },
    join(plane.folder, 'gateway.sock'),
  );
  t.teardown(ended);
  await prepare(plane, admin);
  const names = { server: { app: 'server' }, approved: { drinks: 'beer' }, other: {} };
  for (const [name, labels] of Object.entries(names)) {
    cluster.pod(name, { labels });
    await createPod(admin, cluster, name, labels);
  }
  const flags = await apiFlags(plane, admin, cluster);
  for (const name of Object.keys(names)) await cluster.startSidecar(name, flags);
  await cluster.app('server', HTTP_APP('server'));
  await cluster.app('server', GREETER);
  const url = `http://${cluster.addresses.get('server')!.four}:8080/`;
  const served = async (name: string): Promise<boolean> =>
    (await cluster.curl(name, url)).out.includes('server got');

  t.ok(await served('other'), 'without a policy everybody is served');
  t.match(await cluster.flow('server', ({ source }) => source.pod === 'other'), {
    peer: 'proven',
    verdict: 'allow',
  });

  await t.test('a policy that is created cuts what it refuses, and who is allowed stays', async (t) => {
    const held = hold(cluster, 'other', cluster.addresses.get('server')!.four);
    await until('the connection is open', () => held.said.includes('open'));
    const began = Date.now();
    await admin.create(POLICIES, policy());
    await until('the connection ends', () => held.said.includes('end'));
    t.match(held.said, /ECONNRESET/, 'the connection that was open is cut');
    t.comment(`${Date.now() - began} ms from the API's request to the end of the connection`);
    t.notOk(await served('other'));
    t.ok(await served('approved'));
  });

  await t.test('a label that changes in the API counts at once', async (t) => {
    const patch = (drinks: string | null): Promise<unknown> =>
      admin.request('PATCH', `${PODS}/other`, {
        body: { metadata: { labels: { drinks } } },
        contentType: MERGE,
      });
    await patch('beer');
    await until('it is served', () => served('other'));
    await patch(null);
    await until('it is refused again', async () => !(await served('other')));
    t.pass('both ways');
  });

  await t.test('an API server that is killed changes nothing, and what it says later counts', async (t) => {
    await plane.signal('SIGKILL');
    await until('the sidecar tells of it', async () =>
      (await readyz(cluster)).includes('the last state stays in force'),
    );
    t.match(await readyz(cluster), /^ready/);
    t.notOk(await served('other'));
    t.ok(await served('approved'));
    const age = async (): Promise<number> =>
      Number(
        /^countersign_source_age_seconds (\S+)$/m.exec(
          (await cluster.curl('server', 'http://127.0.0.1:14020/metrics')).out,
        )?.[1],
      );
    await until('its age grows', async () => (await age()) > 2);
    await plane.startApiServer();
    await until('the policy is deleted', () =>
      admin.request('DELETE', `${POLICIES}/server`).then(
        () => true,
        () => false,
      ),
    );
    await until('it is served again', () => served('other'));
    await until('its age is small again', async () => (await age()) < 120);
    t.ok(await served('approved'));
  });
});

const GREETER = `
require('net').createServer((s) => s.on('error', () => {}).write('hello')).listen(9090, '::', () => console.log('up'))`;

/** A connection that says nothing more, and what becomes of it. */
function hold(cluster: Cluster, from: string, address: string): { said: string } {
  const source = `const s = require('net').connect(9090, '${address}');
    s.on('data', () => console.log('open')).on('error', (e) => console.log(e.code)).on('close', () => console.log('end'));`;
  const held = { said: '' };
  const node = join(cluster.program, '.setup/node');
  const child = cluster.network.start(from, [node, '-e', source], 1_000);
  child.stdout!.on('data', (chunk: Buffer) => (held.said += chunk.toString()));
  return held;
}

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
): Promise<void> {
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

async function readyz(cluster: Cluster): Promise<string> {
  return (await cluster.curl('server', 'http://127.0.0.1:14020/readyz')).out;
}

function policy(): object {
  return {
    metadata: { name: 'server' },
    spec: {
      podSelector: { matchLabels: { app: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { drinks: 'beer' } } }] }],
    },
  };
}
