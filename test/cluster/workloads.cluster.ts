import t from 'tap';
import {
  allowOnly,
  IDLE,
  InstalledCluster,
  list,
  namespace,
  pod,
  REFUSED,
  service,
  template,
  workload,
} from '../support/installed-cluster.ts';
import { COUNTING, counted } from '../support/counting-client.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const PATIENCE_MS = 120_000;
const OPT_IN = { 'countersign.io/inject': 'true' };
const SYSTEM = 'countersign-system';

t.test('workloads with sidecars, and the control plane away', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const apply = (...objects: object[]): Promise<string> => cluster.apply(list(...objects));
  const asking = {
    backoffLimit: 0,
    template: template(ONE_REQUEST, { labels: { role: 'client' }, spec: { restartPolicy: 'Never' } }),
  };
  await apply(
    namespace('work', OPT_IN),
    workload('Deployment', 'work', 'web', 2, {
      // What is asked of every server behind a Service: it goes on while the others learn that it ends.
      container: { lifecycle: { preStop: { sleep: { seconds: 10 } } } },
      spec: { terminationGracePeriodSeconds: 30 },
      members: { strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } } },
    }),
    service('work', 'web', { app: 'web' }),
    allowOnly('work', 'web', { role: 'client' }),
    pod('work', 'client', COUNTING, { labels: { role: 'client' } }),
  );
  await installed.rolledOut('work', 'deployment/web');
  await installed.ready('work', 'client');
  await until('the client is answered', async () => (await counted(installed, 'work')).good > 0, PATIENCE_MS);
  // Its minute comes while other things are tried.
  await apply({
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: { name: 'often', namespace: 'work' },
    spec: { schedule: '* * * * *', jobTemplate: { spec: asking } },
  });

  t.test('a StatefulSet: each replica is reached by its own name', async (t) => {
    await apply(
      workload('StatefulSet', 'work', 'db', 2, {
        members: { serviceName: 'db', podManagementPolicy: 'OrderedReady' },
      }),
      service('work', 'db', { app: 'db' }, { clusterIP: 'None' }),
      allowOnly('work', 'db', { role: 'client' }),
    );
    await installed.rolledOut('work', 'statefulset/db');
    const ask = (from: string, name: string, wanted: RegExp): unknown =>
      t.resolves(installed.askUntil('work', from, `http://${name}.db:8080/`, wanted), `${from} to ${name}`);
    for (const name of ['db-0', 'db-1']) await ask('client', name, new RegExp(`^from ${name}$`));
    await ask('db-0', 'db-1', REFUSED);
  });

  t.test('a Job that uses the network ends by itself', async (t) => {
    await apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'once', namespace: 'work' },
      spec: asking,
    });
    await cluster.kubectl(['-n', 'work', 'wait', '--for=condition=Complete', 'job/once', '--timeout=170s']);
    t.match(await cluster.kubectl(['-n', 'work', 'logs', 'job/once', '-c', 'app']), /^200 from web-/);
  });

  t.test(
    'a rolling update, and authorities that are replaced, under requests without one that fails',
    async (t) => {
      const before = await counted(installed, 'work');
      await cluster.kubectl(['-n', 'work', 'rollout', 'restart', 'deployment/web']);
      await installed.rolledOut('work', 'deployment/web');
      await cluster.kubectl(['-n', SYSTEM, 'rollout', 'restart', 'deployment/countersign-authority']);
      await installed.rolledOut(SYSTEM, 'deployment/countersign-authority');
      await until(
        'the old pods are gone',
        async () => {
          const pods = await cluster.kubectl(['-n', 'work', 'get', 'pods', '-l', 'app=web', '-o', 'name']);
          return pods.trim().split('\n').length === 2;
        },
        PATIENCE_MS,
      );
      const after = await counted(installed, 'work');
      t.ok(after.good > before.good + 20, `${after.good - before.good} requests were answered`);
      t.strictSame(after.failures.slice(before.failures.length), [], 'and none failed');
    },
  );

  t.test('a CronJob that uses the network ends by itself, at its time', async (t) => {
    const at = ['get', 'cronjob', 'often', '-o', 'jsonpath={.status.lastSuccessfulTime}'];
    await t.resolves(
      until(
        'the CronJob has succeeded',
        async () => (await cluster.kubectl(['-n', 'work', ...at])) !== '',
        170_000,
      ),
    );
    await cluster.kubectl(['-n', 'work', 'delete', 'cronjob', 'often']);
  });

  t.test(
    'with every authority killed sidecars go on; policy changes are in force once one is back',
    async (t) => {
      await cluster.kubectl(['-n', SYSTEM, 'scale', 'deployment/countersign-authority', '--replicas=0']);
      await cluster.kubectl([
        '-n',
        SYSTEM,
        'delete',
        'pods',
        '-l',
        'app.kubernetes.io/name=countersign-authority',
        '--grace-period=0',
        '--force',
      ]);
      const before = await counted(installed, 'work');
      await until(
        'twenty more requests were answered',
        async () => (await counted(installed, 'work')).good > before.good + 20,
        PATIENCE_MS,
      );
      t.strictSame((await counted(installed, 'work')).failures.slice(before.failures.length), []);
      await apply(allowOnly('work', 'web', { role: 'nobody' }));
      await cluster.kubectl(['-n', SYSTEM, 'scale', 'deployment/countersign-authority', '--replicas=2']);
      await installed.rolledOut(SYSTEM, 'deployment/countersign-authority');
      await until(
        'the new policy denies',
        async () => (await counted(installed, 'work')).failures.length > before.failures.length,
        PATIENCE_MS,
      );
      await apply(allowOnly('work', 'web', { role: 'client' }));
      await installed.askUntil('work', 'client', 'http://web/', /^from web-/);
    },
  );

  t.test(
    'with every injector killed no pod starts unprotected; with one back the missing ones are made',
    async (t) => {
      await cluster.kubectl(['-n', SYSTEM, 'scale', 'deployment/countersign-injector', '--replicas=0']);
      await cluster.kubectl([
        '-n',
        SYSTEM,
        'delete',
        'pods',
        '-l',
        'app.kubernetes.io/name=countersign-injector',
        '--grace-period=0',
        '--force',
      ]);
      const failed = /failed calling webhook "(pod|namespace)\.inject\.countersign\.io"/;
      await until(
        'a pod is refused',
        async () =>
          failed.test(
            (await installed.complaint(
              ['create', '--dry-run=server', '-f', '-'],
              JSON.stringify(pod('work', 'late', IDLE)),
            )) ?? '',
          ),
        PATIENCE_MS,
      );
      await apply(namespace('unconcerned', {}), pod('unconcerned', 'plain', IDLE));
      await installed.ready('unconcerned', 'plain');
      await cluster.kubectl(['-n', 'work', 'scale', 'deployment/web', '--replicas=3']);
      t.equal(
        (await cluster.kubectl(['-n', 'work', 'get', 'pods', '-l', 'app=web', '-o', 'name']))
          .trim()
          .split('\n').length,
        2,
      );
      t.match(await installed.ask('work', 'client', 'http://web/'), /^from web-/, 'pods that live go on');
      await cluster.kubectl(['-n', SYSTEM, 'scale', 'deployment/countersign-injector', '--replicas=2']);
      await installed.rolledOut(SYSTEM, 'deployment/countersign-injector');
      await installed.rolledOut('work', 'deployment/web');
      const missing = '{range .items[*]}{.spec.initContainers[1].name}{"\\n"}{end}';
      const sidecars = await cluster.kubectl([
        '-n',
        'work',
        'get',
        'pods',
        '-l',
        'app=web',
        '-o',
        `jsonpath=${missing}`,
      ]);
      t.equal(sidecars, 'countersign-proxy\n'.repeat(3));
    },
  );

  t.test(
    'draining the node respects the disruption budgets, and uncordoned everything comes back',
    async (t) => {
      const drain = [
        'drain',
        'node-1',
        '--ignore-daemonsets',
        '--delete-emptydir-data',
        '--force',
        '--timeout=20s',
      ];
      const complaint = await installed.complaint([
        ...drain,
        '--pod-selector=app.kubernetes.io/part-of=countersign',
      ]);
      t.match(complaint, /violate the pod's disruption budget/);
      for (const part of ['authority', 'injector']) {
        const ready = await cluster.kubectl([
          '-n',
          SYSTEM,
          'get',
          'deployment',
          `countersign-${part}`,
          '-o',
          'jsonpath={.status.readyReplicas}',
        ]);
        t.equal(ready, '1', `one ${part} was moved, one still serves`);
      }
      t.match(await installed.ask('work', 'client', 'http://web/'), /^from web-/);
      await cluster.kubectl(['uncordon', 'node-1']);
      for (const part of ['authority', 'injector'])
        await installed.rolledOut(SYSTEM, `deployment/countersign-${part}`);
      await cluster.kubectl([...drain.slice(0, -1), '--timeout=170s', '--pod-selector=app=web']);
      await cluster.kubectl(['uncordon', 'node-1']);
      await installed.rolledOut('work', 'deployment/web');
      await installed.askUntil('work', 'client', 'http://web/', /^from web-/);
    },
  );
});

const ONE_REQUEST = `fetch('http://web/').then(async (r) => console.log(r.status, await r.text()));`;
