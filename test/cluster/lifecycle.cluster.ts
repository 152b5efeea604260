import { execFile } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { COUNTING, counted } from '../support/counting-client.ts';
import {
  allowOnly,
  countersign,
  IDLE,
  INSTALL_FLAGS,
  InstalledCluster,
  list,
  namespace,
  pod,
  REFUSED,
  service,
  workload,
} from '../support/installed-cluster.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const ROOT = join(import.meta.dirname, '../..');
const SYSTEM = 'countersign-system';
const NEXT = 'docker.io/library/countersign:next';
const PATIENCE_MS = 170_000;

t.test('an installation that lives: upgraded, classic, its keys lost', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const apply = (...objects: object[]): Promise<string> => cluster.apply(list(...objects));
  const tell = (...args: string[]): Promise<{ status: number; said: string }> =>
    new Promise((resolve) => {
      const given = [...args, '--kubeconfig', cluster.plane.kubeconfig()];
      execFile(join(ROOT, 'bin/countersign'), given, (error, out, complaint) =>
        resolve({ status: error === null ? 0 : Number(error.code), said: out + complaint }),
      );
    });
  const rolled = async (): Promise<void> => {
    for (const part of ['authority', 'injector'])
      await installed.rolledOut(SYSTEM, `deployment/countersign-${part}`);
    await installed.injects();
  };
  const restart = async (): Promise<void> => {
    await cluster.kubectl(['-n', 'life', 'rollout', 'restart', 'deployment/web']);
    await installed.rolledOut('life', 'deployment/web');
  };
  /** Images of the sidecars of `web` that are there to stay. */
  const sidecarImages = async (): Promise<string[]> => {
    const { items } = await installed.json<{
      items: {
        metadata: { deletionTimestamp?: string };
        spec: { initContainers: { name: string; image: string }[] };
      }[];
    }>(['-n', 'life', 'get', 'pods', '-l', 'app=web']);
    return items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined)
      .flatMap(({ spec }) => spec.initContainers)
      .filter(({ name }) => name === 'countersign-proxy')
      .map(({ image }) => image);
  };
  const answered = async (): Promise<void> => {
    const before = (await counted(installed, 'life')).good;
    await until(
      'ten more requests were answered',
      async () => (await counted(installed, 'life')).good > before + 10,
      PATIENCE_MS,
    );
  };

  await apply(
    namespace('life', { 'countersign.io/inject': 'true' }),
    workload('Deployment', 'life', 'web', 2, {
      container: { lifecycle: { preStop: { sleep: { seconds: 10 } } } },
      spec: { terminationGracePeriodSeconds: 30 },
      members: { strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } } },
    }),
    service('life', 'web', { app: 'web' }),
    allowOnly('life', 'web', { role: 'client' }),
    pod('life', 'client', COUNTING, { labels: { role: 'client' } }),
    pod('life', 'stranger', IDLE),
  );
  await installed.rolledOut('life', 'deployment/web');
  await installed.ready('life', 'client', 'stranger');
  await answered();

  t.test('countersign check and upgrade --check find nothing wrong', async (t) => {
    const checked = await tell('check');
    t.equal(checked.status, 0, checked.said);
    const upgrade = await tell('upgrade', '--check');
    t.equal(upgrade.status, 0, upgrade.said);
  });

  t.test('an upgrade in its order, under requests without one that fails', async (t) => {
    const before = await counted(installed, 'life');
    await cluster.tagImage('docker.io/library/countersign:dev', NEXT);
    await cluster.apply(await countersign(['install', `--image=${NEXT}`, '--image-pull-policy=Never']));
    await rolled();
    t.strictSame(
      await sidecarImages(),
      ['countersign:dev', 'countersign:dev'],
      'a sidecar changes with its pod',
    );
    await restart();
    t.strictSame(await sidecarImages(), [NEXT, NEXT]);
    await answered();
    const after = await counted(installed, 'life');
    t.strictSame(after.failures.slice(before.failures.length), []);
    await t.resolves(installed.askUntil('life', 'stranger', 'http://web/', REFUSED), 'policy holds');
  });

  t.test('classic sidecars: an ordinary container, enforced as the native one is', async (t) => {
    await cluster.apply(await countersign(['install', ...INSTALL_FLAGS, '--classic']));
    await rolled();
    await apply(
      workload('Deployment', 'life', 'classic', 1),
      service('life', 'classic', { app: 'classic' }),
      allowOnly('life', 'classic', { role: 'client' }),
      pod('life', 'classic-client', IDLE, { labels: { role: 'client' } }),
    );
    await installed.rolledOut('life', 'deployment/classic');
    await installed.ready('life', 'classic-client');
    const names = await cluster.kubectl([
      ...['-n', 'life', 'get', 'pod', 'classic-client', '-o', 'jsonpath={.spec.containers[*].name}'],
    ]);
    t.match(names, /countersign-proxy/);
    const ask = (who: string, what: string, wanted: RegExp): unknown =>
      t.resolves(installed.askUntil('life', who, `http://${what}/`, wanted), `${who} to ${what}`);
    await ask('classic-client', 'classic', /^from classic-/);
    await ask('classic-client', 'web', /^from web-/);
    await ask('stranger', 'classic', REFUSED);
    await cluster.apply(await countersign(['install', ...INSTALL_FLAGS]));
    await rolled();
  });

  t.test(
    'with all its keys lost the installation makes new ones, and sidecars come back by themselves',
    async (t) => {
      const bundle = ['get', 'mutatingwebhookconfiguration', 'countersign', '-o'];
      const path = 'jsonpath={.webhooks[0].clientConfig.caBundle}';
      const before = await cluster.kubectl([...bundle, path]);
      await cluster.kubectl(['-n', SYSTEM, 'delete', 'secrets', '--all']);
      await cluster.kubectl(['-n', SYSTEM, 'rollout', 'restart', 'deployment']);
      await rolled();
      t.not(await cluster.kubectl([...bundle, path]), before, 'the webhooks trust another certificate');
      await apply(pod('life', 'late', IDLE, { labels: { role: 'client' } }));
      await installed.ready('life', 'late');
      await restart();
      await t.resolves(installed.askUntil('life', 'late', 'http://web/', /^from web-/), 'a new pod');
      // Kubelet brings the new certificate to pods that live within a minute or two.
      await answered();
      await t.resolves(installed.askUntil('life', 'stranger', 'http://web/', REFUSED), 'policy holds');
    },
  );
});
