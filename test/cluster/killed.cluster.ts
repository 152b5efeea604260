import t, { type Test as Tap } from 'tap';
import { COUNTING } from '../support/counting-client.ts';
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
      pod('load', 'web', `${SERVER} s.keepAliveTimeout = 0;`, { labels: { app: 'web' } }),
      service('load', 'web', { app: 'web' }),
      allowOnly('load', 'web', { role: 'client' }),
    ),
  );
  await installed.ready('load', 'web');
  await cluster.apply(
    list(
      pod('load', 'client', COUNTING, { labels: { role: 'client' } }),
      pod('load', 'steady', STEADY, { labels: { role: 'client' } }),
      pod('load', 'stranger', COUNTING),
      pod('load', 'outsider', COUNTING, { labels: { 'countersign.io/inject': 'false', role: 'client' } }),
    ),
  );
  await installed.ready('load');
  // From the files of the node: whoever else could be asked is killed in turn.
  const said = (who: string): string => cluster.written('load', who, 'app');
  const lines = (who: string, start: string): number =>
    said(who)
      .split('\n')
      .filter((line) => line.startsWith(start)).length;
  /** Ten requests were answered and some were refused since now. */
  const goesOn = async (): Promise<void> => {
    const before = lines('client', 'good ');
    const steady = lines('steady', 'good');
    const refused = ['stranger', 'outsider'].map((who) => lines(who, 'bad '));
    await until('ten more requests are answered', () => lines('client', 'good ') >= before + 10, PATIENCE_MS);
    await until('the open connection goes on', () => lines('steady', 'good') > steady, PATIENCE_MS);
    for (const [at, who] of ['stranger', 'outsider'].entries())
      await until(`${who} goes on asking`, () => lines(who, 'bad ') > refused[at]!, PATIENCE_MS);
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
  const programOf = (name: 'kubelet' | 'kube-proxy') => async (): Promise<void> => {
    await cluster.programs.kill(name);
    await goesOn();
    cluster.programs.startAgain(name);
  };
  const sidecars: Record<string, () => Promise<void>> = {
    'the sidecar of the server': sidecarOf('web'),
    'the sidecar of the client': sidecarOf('client'),
    'the sidecar of who may not': sidecarOf('stranger'),
  };
  const others: Record<string, () => Promise<void>> = {
    'all authorities': byForce('authority'),
    'all injectors': byForce('injector'),
    'the API server': () => cluster.plane.restart(),
    etcd: async () => {
      await cluster.plane.signal('SIGKILL', 'etcd');
      await goesOn();
      cluster.plane.startEtcd();
      await installed.injects();
    },
    kubelet: programOf('kubelet'),
    'kube-proxy': programOf('kube-proxy'),
    CoreDNS: async () => {
      const failed = lines('client', 'bad ');
      await cluster.programs.kill('coredns');
      await until('names are not found', () => lines('client', 'bad ') > failed, PATIENCE_MS);
      cluster.programs.startAgain('coredns');
    },
  };
  const neverAnswered = (t: Tap): void => {
    for (const who of ['stranger', 'outsider']) t.notMatch(said(who), /^good/m, `${who} was never answered`);
  };
  await goesOn();
  for (const [name, kill] of Object.entries(sidecars)) {
    t.test(`${name}: requests go on by themselves, and nobody is let in who may not`, async (t) => {
      await kill();
      await goesOn();
      neverAnswered(t);
    });
  }
  for (const [name, kill] of Object.entries(others)) {
    t.test(`${name}: an open connection and requests go on, and nobody is let in who may not`, async (t) => {
      const opened = lines('steady', 'connected');
      await kill();
      await goesOn();
      t.equal(lines('steady', 'connected'), opened, 'the connection that was open is the same');
      neverAnswered(t);
    });
  }

  t.test('the control plane is whole again: a new pod gets its sidecar, and policy its effect', async (t) => {
    await installed.injects();
    await cluster.apply(pod('load', 'late', COUNTING, { labels: { role: 'late' } }));
    await installed.ready('load', 'late');
    await cluster.apply(allowOnly('load', 'web', { role: 'late' }));
    await until('who is allowed now is answered', () => /^good /m.test(said('late')), PATIENCE_MS);
    const failures = lines('client', 'bad ');
    await until('who was allowed is refused', () => lines('client', 'bad ') > failures, PATIENCE_MS);
    t.pass();
  });
});

/** Asks the Service `web` for ever on one connection, and says when it had to make one. */
const STEADY = `
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const next = () => setTimeout(ask, 100);
const ask = () => http.get({ host: 'web', agent }, (r) => r.resume().on('end', () => { console.log('good'); next(); }))
  .on('socket', (s) => s.once('connect', () => console.log('connected'))).on('error', () => { console.log('bad'); next(); });
ask(); process.on('SIGTERM', () => process.exit());`;
