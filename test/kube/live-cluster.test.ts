import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readLiveCluster } from '../../src/kube/live-cluster.ts';

type Answer = { status?: number; body: unknown };

/** An API server that answers as it is told, and a kubeconfig that leads to it. */
async function apiServer(t: Test, answer: (request: IncomingMessage, url: URL) => Answer) {
  const server = createServer((request, response) => {
    const { status = 200, body } = answer(request, new URL(request.url!, 'http://x'));
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const folder = mkdtempSync(join(tmpdir(), 'countersign-kube-'));
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const kubeconfig = join(folder, 'config');
  const { port } = server.address() as AddressInfo;
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'here',
    clusters: [
      { name: 'c', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
    ],
    users: [{ name: 'u', user: { token: 'secret-token' } }],
    contexts: [{ name: 'here', context: { cluster: 'c', user: 'u' } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  return { kubeconfig };
}

const LISTS: Record<string, object[]> = {
  '/api/v1/namespaces': [{ metadata: { name: 'shop' } }],
  '/api/v1/pods': [
    { metadata: { name: 'web', namespace: 'shop', labels: { app: 'web' } }, status: { podIP: '10.0.0.1' } },
    { metadata: { name: 'db', namespace: 'shop', labels: { app: 'db' } }, status: { podIP: '10.0.0.2' } },
    { metadata: { name: 'other', namespace: 'shop' }, status: { podIP: '10.0.0.3' } },
  ],
  '/apis/networking.k8s.io/v1/networkpolicies': [
    {
      metadata: { name: 'db', namespace: 'shop' },
      spec: {
        podSelector: { matchLabels: { app: 'db' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'web' } } }] }],
      },
    },
  ],
};

/** The whole cluster, a page of one object at a time. */
function paged(_request: IncomingMessage, url: URL): Answer {
  const items = LISTS[url.pathname];
  if (items === undefined && !url.pathname.startsWith('/api/v1/'))
    return { status: 404, body: '404 page not found' };
  const at = Number(url.searchParams.get('continue') ?? 0);
  const more = at + 1 < (items?.length ?? 0) ? { continue: String(at + 1) } : {};
  return { body: { kind: 'List', metadata: more, items: items?.slice(at, at + 1) ?? null } };
}

t.test('live cluster: every page of every kind, with kind and version, as raw JSON', async (t) => {
  const tokens = new Set<string | undefined>();
  const { kubeconfig } = await apiServer(t, (request, url) => {
    tokens.add(request.headers.authorization);
    return paged(request, url);
  });
  const objects = (await readLiveCluster({ kubeconfig })) as {
    kind: string;
    apiVersion: string;
    spec?: object;
  }[];
  t.strictSame(
    objects.map(({ kind }) => kind),
    ['Namespace', 'Pod', 'Pod', 'Pod', 'NetworkPolicy'],
  );
  t.match(objects.at(-1), { apiVersion: 'networking.k8s.io/v1', spec: { ingress: [{ from: [{}] }] } });
  t.strictSame([...tokens], ['Bearer secret-token']);
});

t.test('live cluster: a continuation that has expired begins the list anew, once', async (t) => {
  let expired = 0;
  const { kubeconfig } = await apiServer(t, (request, url) => {
    if (url.pathname === '/api/v1/pods' && url.searchParams.get('continue') === '1' && expired === 0) {
      expired++;
      return { status: 410, body: { message: 'expired' } };
    }
    return paged(request, url);
  });
  const objects = (await readLiveCluster({ kubeconfig })) as { kind: string }[];
  t.equal(objects.filter(({ kind }) => kind === 'Pod').length, 3);
  t.equal(expired, 1);
});

t.test('live cluster: what goes wrong names the server, the kind and the remedy', async (t) => {
  const forbidden = await apiServer(t, () => ({ status: 403, body: { message: 'pods is forbidden' } }));
  await t.rejects(readLiveCluster(forbidden), {
    message: /does not list Namespace \(403\): pods is forbidden; the user of the kubeconfig needs list/,
  });
  const rubbish = await apiServer(t, () => ({ body: '<html>' }));
  await t.rejects(readLiveCluster(rubbish), { message: /something that is no JSON/ });
  await t.rejects(readLiveCluster({ ...rubbish, context: 'there' }), {
    message: '--context there: the kubeconfig has here',
  });
  await t.rejects(readLiveCluster({ kubeconfig: '/not/there' }), { message: /kubeconfig cannot be read/ });
  const gone = await apiServer(t, () => ({ body: {} }));
  writeFileSync(
    gone.kubeconfig,
    JSON.stringify({
      'current-context': 'x',
      clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:1', 'insecure-skip-tls-verify': true } }],
      users: [{ name: 'u', user: {} }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    }),
  );
  await t.rejects(readLiveCluster(gone), { message: /127\.0\.0\.1:1 cannot be reached/ });
});

t.test('policy explain: without -f it asks the live cluster', async (t) => {
  const { kubeconfig } = await apiServer(t, paged);
  const explain = (from: string): Promise<{ status: unknown; out: string }> =>
    new Promise((resolve) => {
      const main = join(import.meta.dirname, '../../src/main.ts');
      const flags = [
        'policy',
        'explain',
        '--kubeconfig',
        kubeconfig,
        '--from',
        from,
        '--to',
        'shop/db',
        '--port',
        '5432',
      ];
      execFile(process.execPath, [main, ...flags], (error, out, complaint) =>
        resolve({ status: error === null ? 0 : error.code, out: out + complaint }),
      );
    });
  t.match(await explain('shop/web'), { status: 0, out: /allow/ });
  t.match(await explain('shop/other'), { status: 3, out: /app=web/ });
});
