import t from 'tap';
import {
  allowOnly,
  example,
  IDLE,
  InstalledCluster,
  list,
  namespace,
  pod,
  REFUSED,
  service,
  workload,
} from '../support/installed-cluster.ts';
import { startOf } from '../support/pod-processes.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

const PATIENCE_MS = 120_000;

t.test('enforcement on real pods', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const apply = (...objects: object[]): Promise<string> => cluster.apply(list(...objects));

  t.test(
    'the example of the beer: without a policy everybody drinks, with one who is approved and proves it',
    async (t) => {
      await cluster.apply(example('beer/pub.yaml'));
      await installed.rolledOut('pub', 'deployment/beer');
      await installed.ready('pub', 'approved', 'unapproved', 'no-sidecar');
      const guest = (name: string, wanted: RegExp): Promise<void> =>
        until(
          `${name} says ${wanted}`,
          async () =>
            wanted.test((await installed.said('pub', name, 'guest')).trim().split('\n').at(-1) ?? ''),
          PATIENCE_MS,
        );
      for (const name of ['approved', 'unapproved', 'no-sidecar'])
        await guest(name, /^A beer, poured by beer-/);
      await cluster.apply(example('beer/policy.yaml'));
      await guest('unapproved', /^no beer: /);
      await guest('no-sidecar', /^no beer: /);
      await guest('approved', /^A beer/);
      await cluster.kubectl(['-n', 'pub', 'label', 'pod', 'unapproved', 'beer=approved']);
      await guest('unapproved', /^A beer/);
      await cluster.kubectl(['-n', 'pub', 'label', 'pod', 'unapproved', 'beer-']);
      await guest('unapproved', /^no beer: /);
      await guest('approved', /^A beer/);
      const reasons = await cluster.kubectl([
        '-n',
        'pub',
        'logs',
        '-l',
        'app=beer',
        '-c',
        'countersign-proxy',
        '--tail=-1',
      ]);
      t.match(reasons, /"reason":"policy-denied"/, 'the server says why');
      t.match(reasons, /"reason":"unproven-denied"/);
      t.match(reasons, /would match if the peer had beer=approved/, 'and what would have to change');
      await cluster.kubectl(['delete', 'namespace', 'pub', '--wait=false']);
    },
  );

  t.test(
    'the example of three tiers: web to api to db, each replica by its own name, and nothing else',
    async (t) => {
      await cluster.apply(example('three-tier/shop.yaml'));
      await installed.rolledOut('shop', 'deployment/web');
      await installed.rolledOut('shop', 'deployment/api');
      await installed.rolledOut('shop', 'statefulset/db');
      await apply(
        namespace('elsewhere', { 'countersign.io/inject': 'true' }),
        pod('elsewhere', 'stranger', IDLE),
        pod('shop', 'visitor', IDLE, { labels: { tier: 'web' } }),
      );
      await installed.ready('elsewhere');
      await installed.ready('shop', 'visitor');
      const ask = (who: string, url: string, wanted: RegExp): unknown =>
        t.resolves(
          installed.askUntil(who === 'stranger' ? 'elsewhere' : 'shop', who, url, wanted),
          `${who} gets ${wanted} from ${url}`,
        );
      await ask('visitor', 'http://web/', /^web: api: db: the data$/);
      await ask('visitor', 'http://db-1.db-each.shop.svc.cluster.local:5432/', /^db: the data$/);
      await ask('stranger', 'http://api.shop.svc.cluster.local/', /^api: db: the data$/);
      await cluster.apply(example('three-tier/policy.yaml'));
      await ask('stranger', 'http://api.shop.svc.cluster.local/', REFUSED);
      await ask('visitor', 'http://api/', /^api: db: the data$/);
      await ask('visitor', 'http://api/db', /^api: db: the data$/);
      await ask('visitor', 'http://db/', REFUSED);
      await ask('visitor', 'http://db-0.db-each.shop.svc.cluster.local:5432/', REFUSED);
      await ask('stranger', 'http://web.shop.svc.cluster.local/', REFUSED);
      await cluster.kubectl(['delete', 'namespace', 'shop', 'elsewhere', '--wait=false']);
    },
  );

  t.test('a change of policy and one of a label are in force within seconds', async (t) => {
    await apply(
      namespace('live', { 'countersign.io/inject': 'true' }),
      workload('Deployment', 'live', 'web', 1),
      service('live', 'web', { app: 'web' }),
      pod('live', 'client', ASKING, { labels: { role: 'friend' } }),
    );
    await installed.rolledOut('live', 'deployment/web');
    await installed.ready('live', 'client');
    await heard(installed, 'live', 'client', 'yes');
    const took = async (
      what: string,
      change: () => Promise<unknown>,
      answer: 'yes' | 'no',
    ): Promise<void> => {
      await change();
      const began = Date.now();
      const at = await heard(installed, 'live', 'client', answer, began - 5_000);
      t.comment(`${what}: ${Math.max(0, at - began)} ms after kubectl returned`);
    };
    await took('policy that denies', () => apply(allowOnly('live', 'web', { role: 'nobody' })), 'no');
    await took('policy that allows', () => apply(allowOnly('live', 'web', { role: 'friend' })), 'yes');
    const label = (text: string) => () =>
      cluster.kubectl(['-n', 'live', 'label', '--overwrite', 'pod', 'client', text]);
    await took('label taken away', label('role=other'), 'no');
    await took('label given', label('role=friend'), 'yes');
    await cluster.kubectl(['delete', 'namespace', 'live', '--wait=false']);
  });

  t.test('a TCP probe tells the truth: an application that does not listen is not ready', async (t) => {
    const late = `process.on('SIGTERM', () => process.exit()); setInterval(() => {
      if (require('fs').existsSync('/tmp/listen')) require('http').createServer((q, r) => r.end('up')).on('error', () => {}).listen(8080);
    }, 200);`;
    const probe = { readinessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1 } };
    await apply(
      namespace('late', { 'countersign.io/inject': 'true' }),
      pod('late', 'app', late, { container: probe }),
    );
    interface Status {
      status: {
        containerStatuses?: { name: string; ready: boolean; started?: boolean }[];
        initContainerStatuses?: { name: string; ready: boolean }[];
      };
    }
    const status = async (): Promise<Status['status']> =>
      (await installed.json<Status>(['-n', 'late', 'get', 'pod', 'app'])).status;
    await until(
      'sidecar ready and application started',
      async () => {
        const { initContainerStatuses, containerStatuses } = await status();
        const sidecar = initContainerStatuses?.find(({ name }) => name === 'countersign-proxy');
        return sidecar?.ready === true && containerStatuses?.[0]?.started === true;
      },
      PATIENCE_MS,
    );
    const events = ['-n', 'late', 'get', 'events', '-o', 'jsonpath={.items[*].message}'];
    await until(
      'the probe has failed',
      async () =>
        /Readiness probe failed: HTTP probe failed with statuscode: 503/.test(await cluster.kubectl(events)),
      PATIENCE_MS,
    );
    t.equal((await status()).containerStatuses?.[0]?.ready, false);
    await cluster.exec('late', 'app', ['sh', '-c', 'echo > /tmp/listen'], 'app');
    await installed.ready('late', 'app');
  });

  t.test('from the start of the sidecar to its being ready, one pod after the other', async (t) => {
    await apply(namespace('quick', { 'countersign.io/inject': 'true' }));
    const times: number[] = [];
    const waits: number[] = [];
    for (const name of ['one', 'two', 'three', 'four', 'five']) {
      const program = `${IDLE} // ${name}`;
      await apply(pod('quick', name, program));
      await installed.ready('quick', name);
      const log = await cluster.kubectl(['-n', 'quick', 'logs', name, '-c', 'countersign-proxy']);
      const ready = log.split('\n').find((line) => line.includes('"msg":"ready"'));
      const at = Date.parse((JSON.parse(ready ?? '{}') as { time: string }).time);
      times.push(at - startOf(`--pod=quick/${name}`));
      waits.push(startOf(program) - at);
    }
    for (const time of times) t.ok(time > 0, 'it became ready');
    const sorted = (all: number[]): string => all.toSorted((a, b) => a - b).join(' ');
    t.comment(`from the start of the process to ready, ms: ${sorted(times)}`);
    t.comment(`from ready to the start of the application, ms: ${sorted(waits)}`);
  });
});

/** Asks for ever, ten times a second on new connections, and says when the answer turns: `yes` or `no`, with the time. */
const ASKING = `
let last = '';
const ask = () => require('http').get({ host: 'web', agent: false, timeout: 5000 }, (r) => { r.resume(); tell('yes'); })
  .on('error', () => tell('no')).on('timeout', function () { this.destroy(); });
function tell(what) { if (what !== last) console.log(Date.now(), what); last = what; }
setInterval(ask, 100); process.on('SIGTERM', () => process.exit());`;

/** Waits until the answer that {@link ASKING} gets is this one. @returns since when, milliseconds since the epoch */
async function heard(
  installed: InstalledCluster,
  where: string,
  who: string,
  answer: string,
  after = 0,
): Promise<number> {
  let since = 0;
  await until(
    `${who} hears ${answer}`,
    async () => {
      const log = await installed.kubectl(['-n', where, 'logs', who, '-c', 'app']);
      const [at, what] = (log.trim().split('\n').at(-1) ?? '').split(' ');
      since = Number(at);
      return what === answer && since >= after;
    },
    PATIENCE_MS,
  );
  return since;
}
