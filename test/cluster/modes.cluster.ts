import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import {
  allowOnly,
  IDLE,
  InstalledCluster,
  list,
  namespace,
  PATIENCE_MS,
  pod,
} from '../support/installed-cluster.ts';
import { PROBING_ADDRESS } from '../support/kube-cluster.ts';
import { processOf } from '../support/pod-processes.ts';
import { until } from '../support/until.ts';

t.setTimeout(900_000);

/** Of a sidecar or of a kernel: in NFQUEUE mode a SYN may be refused already. */
const REFUSED =
  /reset by peer|Empty reply|Couldn't connect|Could not connect|Connection refused|connection abort/;
const FROM_KUBELET = new RegExp(`^${PROBING_ADDRESS.replaceAll('.', String.raw`\.`)}$`);
const NET_ADMIN = '0000000000001000';
const NET_RAW = '0000000000002000';
const NONE = '0000000000000000';

/** Says whom it sees; holds a response open for who asks for that, until somebody asks to finish; tells who has asked for /probe since it told last. */
const SERVER = `
const held = new Set(), probes = new Set();
require('http').createServer((q, r) => {
  const from = (q.socket.remoteAddress ?? '').replace('::ffff:', '');
  if (q.url === '/probe') { probes.add(from); r.end('ok'); }
  else if (q.url === '/hold') { r.write('held '); held.add(r); r.on('close', () => held.delete(r)); }
  else if (q.url === '/held') r.end(held.size + ' held');
  else if (q.url === '/finish') { for (const one of held) one.end('finished'); r.end('finished'); }
  else if (q.url === '/probes') { r.end([...probes].join(' ')); probes.clear(); }
  else r.end('seen as ' + from);
}).listen(8080); process.on('SIGTERM', () => process.exit());`;

const PROBED = { readinessProbe: { httpGet: { path: '/probe', port: 8080 }, periodSeconds: 1 } };
const QUEUES = { annotations: { 'countersign.io/data-path': 'nfqueue' } };
const KEEPS = { annotations: { 'countersign.io/keep-source-address': 'true' } };
const OUTSIDE = { 'countersign.io/inject': 'false' };
const FRIEND = { role: 'friend' };

t.test('sidecars that keep a capability, in real pods', { timeout: 900_000 }, async (t) => {
  const installed = await InstalledCluster.start(t);
  const { cluster } = installed;
  const apply = (...objects: object[]): Promise<string> => cluster.apply(list(...objects));
  const addressOf = async (where: string, who: string): Promise<string> =>
    (await cluster.kubectl(['-n', where, 'get', 'pod', who, '-o', 'jsonpath={.status.podIP}'])).trim();

  t.test(
    'where the namespace grants nothing the pod is refused with the annotation that would',
    async (t) => {
      await apply(namespace('ungranted', { 'countersign.io/inject': 'true' }));
      for (const [grant, options] of [
        ['nfqueue', QUEUES],
        ['keep-source-address', KEEPS],
      ] as const) {
        const made = JSON.stringify(pod('ungranted', 'asks', IDLE, options));
        t.match(
          await installed.complaint(['apply', '-f', '-'], made),
          new RegExp(`countersign.io/grants=${grant}`),
          grant,
        );
      }
    },
  );

  t.test('NFQUEUE mode beside redirect mode and pods without sidecar', { timeout: 600_000 }, async (t) => {
    const labels = { 'countersign.io/inject': 'true' };
    await apply(
      namespace('queues', labels, { 'countersign.io/grants': 'nfqueue' }),
      pod('queues', 'queued', SERVER, { ...QUEUES, labels: { app: 'queued' }, container: PROBED }),
      pod('queues', 'redirected', SERVER, { labels: { app: 'redirected' }, container: PROBED }),
      pod('queues', 'bare', SERVER, { labels: OUTSIDE, container: PROBED }),
      pod('queues', 'friend', IDLE, { ...QUEUES, labels: FRIEND }),
      pod('queues', 'stranger', IDLE, QUEUES),
      pod('queues', 'redirected-friend', IDLE, { labels: FRIEND }),
      pod('queues', 'outsider', IDLE, { labels: { ...OUTSIDE, ...FRIEND } }),
    );
    await installed.ready('queues');
    const url: Record<string, string> = {};
    for (const name of ['queued', 'redirected', 'bare'])
      url[name] = `http://${await addressOf('queues', name)}:8080`;
    const ask = async (who: string, whom: string, wanted: RegExp, path = '/'): Promise<void> => {
      await t.resolves(
        installed.askUntil('queues', who, `${url[whom]}${path}`, wanted),
        `${who} gets ${wanted} from ${whom}`,
      );
    };

    const queued = capabilitiesOf('--pod=queues/queued');
    t.strictSame(queued.main, [NET_ADMIN, NET_ADMIN], 'the thread of the program has NET_ADMIN');
    t.strictSame(queued.inEffectElsewhere, [NONE], 'no other thread has anything in effect');
    const redirected = capabilitiesOf('--pod=queues/redirected');
    t.strictSame(redirected, { main: [NONE, NONE], inEffectElsewhere: [NONE], permittedElsewhere: [NONE] });
    t.notMatch(
      await cluster.exec('queues', 'queued', ['grep', 'CapBnd', '/proc/self/status'], 'app'),
      /[13579bdf]...$/m,
      'the application of such a pod cannot have NET_ADMIN',
    );

    const callers = ['friend', 'stranger', 'redirected-friend', 'outsider'];
    for (const who of callers) {
      for (const whom of ['queued', 'redirected', 'bare']) await ask(who, whom, /^seen as /);
    }
    for (const who of ['friend', 'stranger'])
      await ask(who, 'queued', new RegExp(`^seen as ${await addressOf('queues', who)}$`));

    await apply(allowOnly('queues', 'queued', FRIEND), allowOnly('queues', 'redirected', FRIEND));
    for (const whom of ['queued', 'redirected']) {
      await ask('stranger', whom, REFUSED);
      await ask('outsider', whom, REFUSED);
      await ask('friend', whom, /^seen as /);
      await ask('redirected-friend', whom, /^seen as /);
    }
    const log = (): Promise<string> =>
      cluster.kubectl(['-n', 'queues', 'logs', 'queued', '-c', 'countersign-proxy']);
    t.match(await log(), /"reason":"policy-denied"/, 'says who is denied by policy');
    t.match(await log(), /"reason":"unproven-denied"/, 'and who has proven nothing');
    await ask('friend', 'queued', /./, '/probes');
    await ask('friend', 'queued', /^\d/, '/probes');
    await installed.ready('queues', 'queued', 'redirected');

    const hold = (): { ended: Promise<string> } => {
      const command = ['curl', '-sSN', '--max-time', '300', `${url['queued']}/hold`];
      return { ended: cluster.exec('queues', 'friend', command, 'app').catch(String) };
    };
    let held = hold();
    await ask('redirected-friend', 'queued', /^1 held$/, '/held');
    const label = (text: string): Promise<string> =>
      cluster.kubectl(['-n', 'queues', 'label', '--overwrite', 'pod', 'friend', text]);
    await label('role=other');
    t.match(await held.ended, REFUSED, 'an open connection ends when its label is taken away');
    await ask('friend', 'queued', REFUSED);
    await label('role=friend');
    await ask('friend', 'queued', /^seen as /);

    held = hold();
    await ask('redirected-friend', 'queued', /^1 held$/, '/held');
    process.kill(processOf('--pod=queues/queued')!, 'SIGKILL');
    await until(
      'the sidecar runs again',
      async () => (await restarts(installed, 'queues', 'queued')) > 0,
      PATIENCE_MS,
    );
    await installed.ready('queues', 'queued');
    await ask('friend', 'queued', /^seen as /);
    await ask('stranger', 'queued', REFUSED);
    await ask('redirected-friend', 'queued', /^1 held$/, '/held');
    await ask('friend', 'queued', /^finished$/, '/finish');
    t.equal(await held.ended, 'held finished', 'a connection outlives the sidecar, and carries bytes again');

    t.match(
      await cluster.exec('queues', 'queued', ['countersign', 'status'], 'countersign-proxy'),
      /ready/,
      'kubectl exec finds the program',
    );
    await cluster.kubectl(['delete', 'namespace', 'queues', '--wait=false']);
  });

  t.test('kept source addresses: the application sees the client, and the node in its probes', async (t) => {
    await apply(
      namespace(
        'kept',
        { 'countersign.io/inject': 'true' },
        { 'countersign.io/grants': 'keep-source-address' },
      ),
      pod('kept', 'server', SERVER, { ...KEEPS, labels: { app: 'server' }, container: PROBED }),
      pod('kept', 'friend', IDLE, { labels: FRIEND }),
      pod('kept', 'outsider', IDLE, { labels: OUTSIDE }),
    );
    await installed.ready('kept');
    const url = `http://${await addressOf('kept', 'server')}:8080/`;
    t.strictSame(capabilitiesOf('--pod=kept/server').main, [NET_RAW, NET_RAW]);
    for (const who of ['friend', 'outsider'])
      await installed.askUntil('kept', who, url, new RegExp(`^seen as ${await addressOf('kept', who)}$`));
    await installed.askUntil('kept', 'friend', `${url}probes`, FROM_KUBELET);
    await apply(allowOnly('kept', 'server', FRIEND));
    await installed.askUntil('kept', 'outsider', url, REFUSED);
    await installed.askUntil('kept', 'friend', `${url}probes`, /./);
    await installed.askUntil('kept', 'friend', `${url}probes`, FROM_KUBELET);
    await installed.ready('kept', 'server');
  });
});

async function restarts(installed: InstalledCluster, where: string, who: string): Promise<number> {
  interface Status {
    status: { initContainerStatuses?: { name: string; restartCount: number; started?: boolean }[] };
  }
  const { status } = await installed.json<Status>(['-n', where, 'get', 'pod', who]);
  const sidecar = status.initContainerStatuses?.find(({ name }) => name === 'countersign-proxy');
  return sidecar?.started === true ? sidecar.restartCount : 0;
}

interface Capabilities {
  /** In effect, permitted. */
  readonly main: readonly string[];
  readonly inEffectElsewhere: readonly string[];
  readonly permittedElsewhere: readonly string[];
}

/** What the threads of a sidecar have, as /proc shows it. */
function capabilitiesOf(argument: string): Capabilities {
  const id = processOf(argument);
  const of = (thread: string): string[] => {
    const text = readFileSync(`/proc/${id}/task/${thread}/status`, 'utf8');
    return [/CapEff:.*/, /CapPrm:.*/].map((line) => line.exec(text)![0].slice(-16));
  };
  const others = readdirSync(`/proc/${id}/task`)
    .filter((thread) => Number(thread) !== id)
    .map(of);
  const each = (which: number): string[] => [...new Set(others.map((pair) => pair[which]!))].sort();
  return { main: of(String(id)), inEffectElsewhere: each(0), permittedElsewhere: each(1) };
}
