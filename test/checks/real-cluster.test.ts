import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import type { Finding } from '../../src/checks/finding.ts';
import { lookAtCluster, type LookFlags } from '../../src/checks/look-at-cluster.ts';
import { installObjects } from '../../src/install/install.ts';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { KubeControlPlane } from '../support/kube-control-plane.ts';
import { until } from '../support/until.ts';
import { SETTINGS } from '../inject/samples.ts';

t.setTimeout(600_000);
const FLAGS: LookFlags = {
  pre: true,
  namespace: 'countersign-system',
  trial: true,
  cpuRequest: '10m',
  memoryRequest: '40Mi',
  memoryLimit: '128Mi',
  release: '0.1.0',
};
const program = join(import.meta.dirname, '../../src/main.ts');
const errors = (findings: readonly Finding[]): string[] =>
  findings.filter(({ level }) => level === 'error').map(({ check, object }) => `${check} ${object}`);

async function makeNamespace(admin: ApiClient, name: string, labels: object): Promise<void> {
  await admin.create('/api/v1/namespaces', {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels },
  });
  // Pods are refused before their account is there; no controller makes it here.
  await admin.create(`/api/v1/namespaces/${name}/serviceaccounts`, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'default' },
  });
}

t.test('check against a real API server', async (t) => {
  const plane = await KubeControlPlane.start(t, { users: ['viewer-token,viewer,1000,"nobody"'] });
  const admin = plane.client();
  await makeNamespace(admin, 'open', { 'countersign.io/inject': 'true' });
  await makeNamespace(admin, 'strict', {
    'countersign.io/inject': 'true',
    'pod-security.kubernetes.io/enforce': 'baseline',
  });

  // Made while no webhook is there. The label is off: its owner may have removed it a moment ago.
  const debugged = '/api/v1/namespaces/debugged/pods';
  const makeDebugged = async (name: string, ...containers: string[]): Promise<void> => {
    const made = { apiVersion: 'v1', kind: 'Pod', metadata: { name } };
    await admin.create(debugged, {
      ...made,
      spec: { containers: containers.map((one) => ({ name: one, image: 'x' })) },
    });
  };

  await t.test('--pre: Pod Security is found in the labels and by trying, rights are there', async (t) => {
    const findings = await lookAtCluster(admin, FLAGS);
    t.strictSame(errors(findings), ['pod-security namespace/strict', 'trial namespace/strict']);
    t.match(
      findings.find(({ check, level }) => check === 'trial' && level === 'error')?.text,
      /violates PodSecurity "baseline/,
      'in the words of the API server',
    );
    t.ok(
      findings.some(
        ({ check, object, level }) => level === 'ok' && `${check} ${object}` === 'trial namespace/open',
      ),
    );
    t.ok(findings.some(({ check, level }) => level === 'ok' && check === 'rights'));
    t.strictSame(
      findings.filter(({ check }) => check === 'not-seen'),
      [],
      'kinds that this cluster does not have are nothing that was overlooked',
    );
    const named = await lookAtCluster(admin, { ...FLAGS, enroll: 'open,opne' });
    t.strictSame(errors(named), ['enroll namespace/opne'], 'a misspelt namespace is found');
    const { items } = (await admin.get('/api/v1/pods')) as { items: unknown[] };
    t.strictSame(items, [], 'nothing is left behind');
  });

  await t.test('--pre: a limit range below a sidecar is found by its numbers and by trying', async (t) => {
    await admin.create('/api/v1/namespaces/open/limitranges', {
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { name: 'small' },
      spec: { limits: [{ type: 'Container', max: { memory: '64Mi' } }] },
    });
    let found: string[] = [];
    const look = async (): Promise<boolean> => {
      found = errors(await lookAtCluster(admin, FLAGS));
      return found.includes('trial namespace/open');
    };
    await until('the API server refuses by the limit range', look);
    t.ok(found.includes('limit-range limitrange/open/small'));
    await admin.request('DELETE', '/api/v1/namespaces/open/limitranges/small');
    await until('it refuses no more', async () => !(await look()));
  });

  await t.test('--pre: a limit range that a sidecar fits into refuses no trial', async (t) => {
    await admin.create('/api/v1/namespaces/open/limitranges', {
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { name: 'least' },
      spec: {
        limits: [
          { type: 'Container', min: { memory: '16Mi', cpu: '5m' }, maxLimitRequestRatio: { memory: '4' } },
        ],
      },
    });
    // The API server learns of it a moment later: another pod is refused then.
    const small = { name: 'app', image: 'x', resources: { limits: { memory: '1Mi', cpu: '1m' } } };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'small' }, spec: { containers: [small] } };
    const refused = (): Promise<boolean> =>
      admin.request('POST', '/api/v1/namespaces/open/pods', { query: { dryRun: 'All' }, body: pod }).then(
        () => false,
        (error: unknown) => /minimum memory usage/.test(String(error)),
      );
    await until('a small pod is refused', refused);
    t.strictSame(errors(await lookAtCluster(admin, { ...FLAGS, enroll: 'open' })), []);
    await admin.request('DELETE', '/api/v1/namespaces/open/limitranges/least');
    await until('it is refused no more', async () => !(await refused()));
  });

  await t.test('--pre: who may see nothing learns what could not be seen, and what is missing', async (t) => {
    const findings = await lookAtCluster(plane.client('viewer-token'), { ...FLAGS, enroll: 'open' });
    t.strictSame(errors(findings), ['rights cluster']);
    const unseen = findings.filter(({ check }) => check === 'not-seen').map(({ object }) => object);
    for (const what of ['namespaces', 'pods', 'networkpolicies', 'trial pod in open'])
      t.ok(unseen.includes(what), what);
    t.match(findings.find(({ object }) => object === 'pods')?.text, /viewer/);
  });

  await t.test('after: an injector that nobody can reach is found by trying', async (t) => {
    await makeNamespace(admin, 'debugged', {});
    await makeDebugged('protected', 'web', 'countersign-proxy');
    await makeDebugged('plain', 'web');
    const kinds = { MutatingWebhookConfiguration: 'mutating', ValidatingWebhookConfiguration: 'validating' };
    const objects = installObjects({
      namespace: 'countersign-system',
      trustDomain: 'cluster.local',
      replicas: 2,
      monitoring: false,
      sidecars: SETTINGS,
    });
    const before = errors(await lookAtCluster(admin, { ...FLAGS, pre: false }));
    t.ok(before.includes('injection namespace/open'), 'no webhook: not injected');
    t.ok(before.includes('control-plane deployment/countersign-system/countersign-authority'));
    for (const object of objects) {
      const kind = kinds[object.kind as keyof typeof kinds];
      if (kind === undefined) continue;
      await admin.create(`/apis/admissionregistration.k8s.io/v1/${kind}webhookconfigurations`, object);
    }
    const found = await lookAtCluster(admin, { ...FLAGS, pre: false });
    t.match(
      found.find(({ check, object }) => check === 'injection' && object === 'namespace/open')?.text,
      /failed calling webhook/,
    );
    t.ok(errors(found).includes('webhooks mutatingwebhookconfiguration/countersign'), 'no caBundle');
  });

  await t.test('a debug container is looked at wherever a sidecar is, label or not', async (t) => {
    const debug = async (name: string): Promise<string> => {
      const pod = (await admin.get(`${debugged}/${name}`)) as { spec: object };
      const ephemeralContainers = [{ name: 'debug', image: 'x', securityContext: { runAsUser: 14_014 } }];
      const body = { ...pod, spec: { ...pod.spec, ephemeralContainers } };
      return admin.request('PUT', `${debugged}/${name}/ephemeralcontainers`, { body }).then(
        () => 'taken',
        (error: Error) => error.message,
      );
    };
    t.match(await debug('protected'), /failed calling webhook .*ephemeral/);
    t.equal(await debug('plain'), 'taken', 'and nobody else waits for the injector');
    for (const name of ['protected', 'plain']) await admin.request('DELETE', `${debugged}/${name}`);
  });

  await t.test('the command prints findings, JSON too, and exits with 1', async (t) => {
    const kubeconfig = plane.kubeconfig();
    const call = (...args: string[]) =>
      promisify(execFile)(process.execPath, [program, ...args, '--kubeconfig', kubeconfig]).then(
        ({ stdout }) => ({ code: 0, stdout }),
        (error: { code: number; stdout: string }) => error,
      );
    const run = (...args: string[]) => call('check', ...args);
    const text = await run('--pre');
    t.equal(text.code, 1);
    t.match(
      text.stdout,
      /^error {3}pod-security: namespace\/strict: .*\n {8}remedy: kubectl label namespace strict/m,
    );
    const json = await run('--pre', '-o', 'json');
    t.ok((JSON.parse(json.stdout) as Finding[]).some(({ level }) => level === 'error'));
    t.equal((await run('--pre', '--fail-on', 'never')).code, 2);
    t.equal((await run('--enroll', 'A_B')).code, 2);

    const upgrade = await call('upgrade', '--check');
    t.equal(upgrade.code, 0);
    t.match(upgrade.stdout, /warning upgrade: deployment\/countersign-system\/countersign-authority/);
    t.equal((await call('upgrade')).code, 2);
    t.match((await call('version', '--cluster')).stdout, /^countersign [\s\S]*Kubernetes +v1\./);
    const folder = join(t.testdir(), 'report');
    t.equal((await call('bug-report', '--out', folder)).code, 0);
    t.match(JSON.parse(readFileSync(join(folder, 'versions.json'), 'utf8')), { kubernetes: /^v1\./ });
    t.equal((await call('status', 'open/web-0')).code, 1, 'there is no such pod');
    t.equal((await call('status', 'a/b/c')).code, 2);
  });
});
