import t from 'tap';
import { COUNTING, counted } from '../support/counting-client.ts';
import {
  allowOnly,
  InstalledCluster,
  list,
  namespace,
  pod,
  SERVER,
  service,
} from '../support/installed-cluster.ts';
import { processOf } from '../support/pod-processes.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const SYSTEM = 'countersign-system';
const PATIENCE_MS = 170_000;

t.test('each component killed in turn, under load', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  await cluster.apply(
    list(
      namespace('load', { 'countersign.io/inject': 'true' }),
      pod('load', 'web', SERVER, { labels: { app: 'web' } }),
      service('load', 'web', { app: 'web' }),
      allowOnly('load', 'web', { role: 'client' }),
    ),
  );
  await installed.ready('load', 'web');
  await cluster.apply(
    list(
      pod('load', 'client', COUNTING, { labels: { role: 'client' } }),
      pod('load', 'stranger', COUNTING),
      pod('load', 'outsider', COUNTING, { labels: { 'countersign.io/inject': 'false', role: 'client' } }),
    ),
  );
  await installed.ready('load');
  const said = (who: string): Promise<string> =>
    cluster.kubectl(['-n', 'load', 'logs', who, '-c', 'app', '--tail=-1']);
  const refusals = async (who: string): Promise<number> => (await said(who)).split('\n').length;
  const good = async (): Promise<number> => (await counted(installed, 'load')).good;
  /** Ten requests were answered and some were refused since now. */
  const goesOn = async (): Promise<void> => {
    const before = await good();
    const refused = await Promise.all(['stranger', 'outsider'].map(refusals));
    await until('ten more requests are answered', async () => (await good()) >= before + 10, PATIENCE_MS);
    for (const [at, who] of ['stranger', 'outsider'].entries())
      await until(`${who} goes on asking`, async () => (await refusals(who)) > refused[at]!, PATIENCE_MS);
  };
  const byForce = (part: string) => async (): Promise<void> => {
    const pods = ['delete', 'pods', '-l', `app.kubernetes.io/name=countersign-${part}`];
    await cluster.kubectl(['-n', SYSTEM, ...pods, '--grace-period=0', '--force']);
    await goesOn();
    await installed.rolledOut(SYSTEM, `deployment/countersign-${part}`);
  };
  const sidecarOf = (who: string) => async (): Promise<void> => {
    const argument = `--pod=load/${who}`;
    const before = processOf(argument);
    process.kill(before!, 'SIGKILL');
    await until(
      'kubelet has started it again',
      () => ![undefined, before].includes(processOf(argument)),
      PATIENCE_MS,
    );
  };
  const components: Record<string, () => Promise<void>> = {
    'the sidecar of the server': sidecarOf('web'),
    'the sidecar of the client': sidecarOf('client'),
    'the sidecar of who may not': sidecarOf('stranger'),
    'all authorities': byForce('authority'),
    'all injectors': byForce('injector'),
    'the API server': () => cluster.plane.restart(),
  };
  await goesOn();
  for (const [name, kill] of Object.entries(components)) {
    t.test(`${name}: requests go on by themselves, and nobody is let in who may not`, async (t) => {
      await kill();
      await goesOn();
      for (const who of ['stranger', 'outsider'])
        t.notMatch(await said(who), /^good /m, `${who} was never answered`);
    });
  }

  t.test('the control plane is whole again: a new pod gets its sidecar, and policy its effect', async (t) => {
    await installed.injects();
    await cluster.apply(pod('load', 'late', COUNTING, { labels: { role: 'late' } }));
    await installed.ready('load', 'late');
    await cluster.apply(allowOnly('load', 'web', { role: 'late' }));
    await until(
      'who is allowed now is answered',
      async () => /^good /m.test(await said('late')),
      PATIENCE_MS,
    );
    const { failures } = await counted(installed, 'load');
    await until(
      'who was allowed is refused',
      async () => (await counted(installed, 'load')).failures.length > failures.length,
      PATIENCE_MS,
    );
    t.pass();
  });
});
