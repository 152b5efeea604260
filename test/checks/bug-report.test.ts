import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { askSidecar } from '../../src/checks/ask-sidecar.ts';
import { writeBugReport } from '../../src/checks/bug-report.ts';
import { podStatus, podStatusText } from '../../src/checks/pod-status.ts';
import { redact } from '../../src/checks/redact.ts';
import type { Pod } from '../../src/inject/pod.ts';
import { ApiClient } from '../../src/kube/api-client.ts';
import { parseMetrics } from '../../src/observe/metrics-text.ts';
import { facts, runningPod, SETTINGS } from './samples.ts';

const JWT = `eyJhbGciOiJFUzI1NiJ9.${'a'.repeat(20)}.${'b'.repeat(20)}`;
const METRICS = `# HELP countersign_ready 1: ready
countersign_ready 0
countersign_audit_mode 1
countersign_identity_expiry_timestamp_seconds ${SETTINGS.now / 1000 + 3_600}
countersign_policy_age_seconds 12.5
countersign_open_connections{direction="inbound"} 2
countersign_open_connections{direction="outbound"} 1
countersign_connections_total{direction="inbound",verdict="deny",reason="policy-denied",peer="proven"} 4
countersign_connections_total{direction="inbound",verdict="allow",reason="policy-allowed",peer="proven"} 9
countersign_redirect_in_force{family="ipv4",direction="inbound"} 0
countersign_redirect_in_force{family="ipv6",direction="inbound"} 1
`;

/** An API server as far as pods' proxies and logs go; each path with what it answers. */
async function apiServer(t: Tap, answers: Record<string, readonly [number, string]>): Promise<ApiClient> {
  const server = createServer((request, response) => {
    const [status, body] = answers[(request.url ?? '').split('?', 1)[0]!] ?? [
      404,
      JSON.stringify({ kind: 'Status', message: 'pods "x" not found', reason: 'NotFound' }),
    ];
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = new ApiClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  t.teardown(async () => {
    await client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return client;
}
type Tap = typeof t;

const PROXY = '/api/v1/namespaces/shop/pods/web:14020/proxy';
const SICK = {
  [`${PROXY}/readyz`]: [503, 'source: not read yet\nredirect: IPv4 inbound is not in force\n'],
  [`${PROXY}/metrics`]: [200, METRICS],
} as const;

t.test('status of a pod: what it answers over the API server, ready or not', async (t) => {
  const client = await apiServer(t as Tap, SICK);
  const pod = runningPod('shop', 'web', '1.4.0');
  const status = podStatus(pod, await askSidecar(client, pod), SETTINGS.now);
  t.match(status, {
    pod: 'shop/web',
    sidecar: 'not ready',
    problem: 'source: not read yet; redirect: IPv4 inbound is not in force',
    mode: 'audit',
    identityEndsIn: 3_600,
    policyAge: 12.5,
    openConnections: 3,
    verdicts: { deny: 4, allow: 9 },
    denials: [{ reason: 'policy-denied', count: 4 }],
    redirectionLost: ['ipv4 inbound'],
  });
  t.match(podStatusText(status), /identity +ends in 60 min\n.*\n.*3 open/);
});

t.test('status of a pod: without a sidecar, and with one that nobody reaches', async (t) => {
  const client = await apiServer(t as Tap, {});
  const bare = runningPod('shop', 'web');
  t.match(podStatus(bare, await askSidecar(client, bare), SETTINGS.now), { sidecar: 'none' });
  const away = runningPod('shop', 'web', '1.4.0');
  const status = podStatus(away, await askSidecar(client, away), SETTINGS.now);
  t.match(status, { sidecar: 'unreachable', problem: /not found/, mode: undefined });
  t.match(podStatusText(status), /identity +none/);
});

t.test('metrics text: samples with labels and odd numbers; what is none is passed over', (t) => {
  t.strictSame(parseMetrics('a{b="c\\"d\\n,}",e="f"} +Inf\nx NaN\n{} 1\nnonsense\ny 1e3 170000\n'), [
    { name: 'a', labels: { b: 'c"d\n,}', e: 'f' }, value: Infinity },
    { name: 'x', labels: {}, value: Number.NaN },
    { name: 'y', labels: {}, value: 1_000 },
  ]);
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseMetrics(text))));
  t.end();
});

t.test('redact: nothing that is a secret stays, whatever stands around it', (t) => {
  const key = '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----';
  for (const secret of [
    JWT,
    key,
    `Bearer ${'x'.repeat(20)}`,
    'postgres://user:hunter22@db/x',
    'password=hunter22',
    '"token": "hunter22"',
    `{"kty":"EC","d":"${'q'.repeat(43)}"}`,
    key.slice(0, 40),
  ]) {
    const text = redact(`before ${secret} after`);
    t.match(text, /REDACTED/, secret);
    t.notMatch(text, /hunter22|MHcCAQEE|eyJ|xxxx|qqqq/);
    t.match(text, /^before /);
  }
  t.equal(redact('pod/shop/web is not ready; tokens end soon'), 'pod/shop/web is not ready; tokens end soon');
  t.end();
});

t.test('bug-report: a folder with what is needed, without secrets, for its owner alone', async (t) => {
  const own = {
    metadata: {
      namespace: SETTINGS.namespace,
      name: 'a-1',
      labels: { 'app.kubernetes.io/name': 'countersign-authority' },
    },
    spec: { containers: [] },
  } as unknown as Pod;
  const client = await apiServer(t as Tap, {
    ...SICK,
    [`/api/v1/namespaces/${SETTINGS.namespace}/pods/a-1/log`]: [200, `refused ${JWT}\n`],
  });
  const folder = join(t.testdir(), 'report');
  const input = {
    client,
    facts: facts({ pods: [own, runningPod('shop', 'web', '1.4.0', false)] }),
    findings: [],
    settings: SETTINGS,
    folder,
    onProgress: () => {},
  };
  const files = await writeBugReport(input);
  t.strictSame(files, [
    'README.txt',
    'check.json',
    'control-plane.json',
    'logs/countersign-system-a-1-countersign-authority.log',
    'logs/shop-web-countersign-proxy.log',
    'not-seen.json',
    'sidecars.json',
    'versions.json',
  ]);
  for (const file of files) t.notMatch(readFileSync(join(folder, file), 'utf8'), /eyJ/, file);
  t.match(readFileSync(join(folder, files[3]!), 'utf8'), /refused REDACTED/);
  t.match(readFileSync(join(folder, files[4]!), 'utf8'), /could not be read: pods "x" not found/);
  t.match(JSON.parse(readFileSync(join(folder, 'sidecars.json'), 'utf8')), {
    all: 1,
    asked: [{ pod: 'shop/web', sidecar: 'not ready' }],
  });
  t.equal(statSync(folder).mode & 0o077, 0);
  t.ok(readdirSync(folder).length > 0);
  await t.rejects(writeBugReport(input), { message: /name a folder that is not there yet/ });
});
