/** NFQUEUE mode: a Service of three pods, to which the network leads each connection as kube-proxy does; most calls go by passes of the addon. */
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { KubeProxyRules } from '../support/kube-proxy-rules.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster, PROXY_UID } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);
const ADDRESS = '10.96.0.20';
const PORT = 9000;
const CALLS_OF_A_BATCH = 60;
/** Dozens of calls and programs, on a machine that does much besides. */
const PATIENCE_MS = 240_000;

/** Says who it is to everybody who says something; who says `hold` stays connected. */
const APP = (name: string): string => `
require('net').createServer((s) => s.on('error', () => {}).on('data', (d) => {
  if (d.toString() === 'hold') s.write('${name}'); else s.end('${name}');
})).listen(${PORT}, '::', () => console.log('up'));`;

/** Calls, some at once; prints how often each answer was heard, and each error. */
const CALLS = (count: number): string => `
const net = require('net');
const heard = {};
let begun = 0, ended = 0;
function one() {
  if (begun++ >= ${count}) return;
  const s = net.connect(80, '${ADDRESS}', () => s.write('who'));
  let text = '', error;
  s.setTimeout(60_000, () => s.destroy(new Error('ETIMEDOUT')));
  s.on('data', (d) => (text += d)).on('error', (e) => (error = e.code ?? e.message)).on('close', () => {
    const what = error ?? text;
    heard[what] = (heard[what] ?? 0) + 1;
    if (++ended === ${count}) console.log(JSON.stringify(heard)); else one();
  });
}
for (let i = 0; i < 4; i++) one();`;

/** Connections that are kept; says so when all have heard an answer, and when all are gone. */
const HOLD = (count: number): string => `
let open = 0, closed = 0;
for (let i = 0; i < ${count}; i++) {
  const s = require('net').connect(80, '${ADDRESS}', () => s.write('hold'));
  s.on('error', () => {});
  s.once('data', () => { if (++open === ${count}) console.log('all open'); });
  s.on('close', () => { if (++closed === ${count}) console.log('all closed'); });
}`;

const SERVICE = (addresses: readonly string[]): string => `
apiVersion: v1
kind: Service
metadata: {name: server, namespace: demo}
spec: {clusterIP: ${ADDRESS}, clusterIPs: [${ADDRESS}], ports: [{port: 80, targetPort: ${PORT}}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: server-1, namespace: demo, labels: {kubernetes.io/service-name: server}}
addressType: IPv4
ports: [{name: "", port: ${PORT}, protocol: TCP}]
endpoints: [${addresses.map((address) => `{addresses: [${address}], conditions: {ready: true}}`).join(', ')}]
`;

t.test('nfqueue mode: a Service of three pods', { skip, timeout: 800_000 }, async (t) => {
  const cluster = new Cluster(t);
  const { network } = cluster;
  const address = (name: string): string => cluster.addresses.get(name)!.four;
  for (const name of ['one', 'two', 'three', 'four'])
    cluster.pod(name, { labels: { app: 'server' }, mode: 'nfqueue' });
  cluster.pod('client', { labels: { drinks: 'beer' }, mode: 'nfqueue' });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  const rules = await KubeProxyRules.open(network, 'server', ADDRESS, 80);
  /** Source and network say who is behind the Service. */
  const behind = async (...names: string[]): Promise<void> => {
    cluster.write('service.yaml', SERVICE(names.map(address)));
    const pods = names.map((host) => ({ host, address: address(host), port: PORT }));
    await rules.leadTo(pods, [address('client')]);
  };
  const start = async (name: string): Promise<void> => {
    const folder = join(cluster.folder, `admin-${name}`);
    mkdirSync(folder);
    chownSync(folder, PROXY_UID, PROXY_UID);
    await cluster.startSidecar(name, ['--admin-socket', join(folder, 'socket')]);
    if (name !== 'client') await cluster.app(name, APP(name));
  };
  /** Connections that passes of a pod have established. */
  const byPass = async (name: string): Promise<number> => {
    const socket = join(cluster.folder, `admin-${name}`, 'socket');
    const { out } = await cluster.curl(name, 'http://admin/status', '--unix-socket', socket);
    return (JSON.parse(out) as { nfqueue: { byPass: number } }).nfqueue.byPass;
  };
  const calls = async (count = CALLS_OF_A_BATCH): Promise<Record<string, number>> => {
    const { out, complaint } = await cluster.node('client', CALLS(count), 300_000);
    if (out === '') throw new Error(complaint);
    return JSON.parse(out) as Record<string, number>;
  };
  const answering = (heard: Record<string, number>): string => Object.keys(heard).sort().join(' ');
  /** Until a batch of calls is answered by these alone, most of them by passes of the client and some by passes of each. */
  const settled = (...names: string[]): Promise<void> =>
    until(
      `${names.join()} answer, by passes`,
      async () => {
        const all = ['client', ...names];
        const before = await Promise.all(all.map(byPass));
        const heard = await calls();
        const after = await Promise.all(all.map(byPass));
        const more = after.map((count, index) => count - before[index]!);
        return (
          answering(heard) === names.toSorted().join(' ') &&
          more[0]! > CALLS_OF_A_BATCH / 2 &&
          more.every((count) => count > 0)
        );
      },
      PATIENCE_MS,
    );

  await behind('one', 'two', 'three');
  await Promise.all(['one', 'two', 'three', 'client'].map(start));

  t.test(
    'calls go to all of them, most by passes on both sides, and each is proven and counted',
    async (t) => {
      await settled('one', 'two', 'three');
      const servers = ['one', 'two', 'three'];
      const proven = async (): Promise<number> => {
        const counts = await Promise.all(servers.map((name) => cluster.counts(name)));
        const kinds = ['full', 'resumed'].map((how) => `inbound allow policy-allowed proven ${how}`);
        return counts
          .flatMap((one) => kinds.map((kind) => one[kind] ?? 0))
          .reduce((sum, one) => sum + one, 0);
      };
      const before = await proven();
      const heard = await calls(120);
      t.equal(answering(heard), 'one three two', 'in 120 calls one of three is missed once in 10^20 runs');
      await until('each is counted as proven', async () => (await proven()) >= before + 120);
      for (const name of servers)
        t.strictSame(
          Object.keys(await cluster.counts(name)).filter((kind) => /^inbound allow .* unproven/.test(kind)),
          [],
          `${name} has let in nobody without proof`,
        );
      for (const pod of servers) {
        const record = await cluster.flow(
          'client',
          ({ destination, handshake }) => destination.pod === pod && handshake === 'resumed',
        );
        t.match(record, { verdict: 'allow', peer: 'proven', destination: { address: ADDRESS, port: 80 } });
      }
    },
  );

  t.test('a policy that forbids it cuts what went by passes, and lets in nobody any more', async (t) => {
    await settled('one', 'two', 'three');
    const program = [join(cluster.program, '.setup/node'), '-e', HOLD(12)];
    const before = await byPass('client');
    const holder = network.start('client', program);
    let told = '';
    holder.stdout!.on('data', (chunk: Buffer) => (told += chunk.toString()));
    await until('all are open', () => told.includes('all open'));
    t.ok((await byPass('client')) > before, 'some of them by passes');
    t.notMatch(told, 'closed');
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'wine'));
    await until('all are cut', () => told.includes('all closed'));
    const refused = async (name: string): Promise<number> =>
      Object.entries(await cluster.counts(name))
        .filter(([kind]) => kind.startsWith('inbound deny policy-denied proven'))
        .reduce((sum, [, count]) => sum + count, 0);
    await until(
      'each pod has refused a call',
      async () => {
        await calls(6);
        const counts = await Promise.all(['one', 'two', 'three'].map(refused));
        return counts.every((count) => count > 0);
      },
      PATIENCE_MS,
    );
    const during = await byPass('one');
    t.strictSame(
      Object.keys(await calls(12)).filter((what) => ['one', 'two', 'three'].includes(what)),
      [],
      'none of them answers from then on',
    );
    t.equal(await byPass('one'), during);
    cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
    await settled('one', 'two', 'three');
  });

  t.test(
    'a pod is replaced under load: whoever is behind the Service answers, and soon by passes again',
    async (t) => {
      await start('four');
      const load = new AbortController();
      const during: Record<string, number>[] = [];
      const loading = (async () => {
        while (!load.signal.aborted) during.push(await calls());
      })();
      await until('the load runs', () => during.length > 0);
      await behind('one', 'two', 'four');
      await settled('one', 'two', 'four');
      // What was led to it is over: it ends as Kubernetes would end it.
      cluster.remove('pod-three.yaml');
      cluster.sidecar('three').kill('SIGTERM');
      await settled('one', 'two', 'four');
      load.abort();
      await loading;
      const heard = new Set(during.flatMap((one) => Object.keys(one)));
      for (const name of ['one', 'two', 'three']) t.ok(heard.has(name), `${name} answered under load`);
      t.strictSame(
        [...heard].filter(
          (what) => !['one', 'two', 'three', 'four'].includes(what) && !/^E[A-Z]+$/.test(what),
        ),
        [],
        'a call is answered whole, or its application hears of an error',
      );
      t.equal(answering(await calls(120)), 'four one two');
      const record = await cluster.flow('client', ({ destination }) => destination.pod === 'four');
      t.equal(record.peer, 'proven');
    },
  );
});
