import t, { type Test } from 'tap';
import { ImpairedLink, type Impairment } from '../support/impaired-link.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(900_000);

/** One way, in milliseconds. */
const DELAY = 150;
const ROUND_TRIP = 2 * DELAY;

/** A line back for each line: a connection, a request and an answer. */
const ECHO = `require('net').createServer((s) => s.on('error', () => {}).on('data', (d) => s.end('got ' + d)))
  .listen(9000, '::', () => console.log('up'))`;

const ASK = (address: string): string => `
const from = performance.now();
const s = require('net').connect(9000, '${address}', () => s.write('x'));
let got = '';
s.on('data', (d) => { if (got === '') got = String(d) + ' ' + (performance.now() - from); });
s.on('error', (e) => (got = e.code)).on('close', () => console.log(got));`;

/** Two pods with sidecars on a bad path; the server is isolated, and lets in who is proven and has the label. */
async function pods(t: Test, how: Impairment, server: { fastOpen: boolean; mode?: 'redirect' | 'nfqueue' }) {
  const cluster = new Cluster(t);
  const ends = {
    server: {
      host: 'server',
      ...cluster.pod('server', { labels: { app: 'server' }, mode: server.mode ?? 'redirect' }),
    },
    client: { host: 'client', ...cluster.pod('client', { labels: { drinks: 'beer' } }) },
  };
  if (server.fastOpen) cluster.network.sysctl('server', 'net.ipv4.tcp_fastopen', '3');
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'client');
  await cluster.app('server', ECHO);
  const link = await ImpairedLink.between(cluster.network, ends.client, ends.server, how);
  /** @returns how long the answer took, in milliseconds */
  const ask = async (): Promise<number> => {
    const { out, complaint } = await cluster.node('client', ASK(ends.server.four), 60_000);
    const [, ms] = /^got x (\S+)/.exec(out) ?? [];
    if (ms === undefined) throw new Error(`no answer: ${out}${complaint}\n${cluster.log('client')}`);
    return Number(ms);
  };
  const outcomes = async (): Promise<Record<string, number>> => {
    const { out } = await cluster.curl('client', 'http://127.0.0.1:14020/metrics');
    const found = out.matchAll(/^countersign_fast_open_dials_total\{outcome="(.*)"\} (\d+)$/gm);
    return Object.fromEntries([...found].map(([, outcome, count]) => [outcome!, Number(count)]));
  };
  return { cluster, link, ask, outcomes };
}

/** Calls until one takes no more than so many whole round trips: a machine may be slow for some, not for all. */
async function roundTrips(ask: () => Promise<number>, expected: number): Promise<number> {
  let least = Infinity;
  for (let at = 0; at < 10 && least > expected; at++) {
    least = Math.min(least, Math.floor((await ask()) / ROUND_TRIP));
  }
  return least;
}

t.test(
  'fast open: off, a connection costs one round trip more than without sidecars',
  { skip },
  async (t) => {
    const { ask, outcomes } = await pods(t, { delayMs: DELAY }, { fastOpen: false });
    t.equal(await roundTrips(ask, 3), 3, 'connect, handshake, answer');
    t.strictSame(Object.keys(await outcomes()), ['no-cookie']);
  },
);

t.test('fast open: on, a connection costs no round trip more after first contact', { skip }, async (t) => {
  const { ask, outcomes } = await pods(t, { delayMs: DELAY }, { fastOpen: true });
  await ask();
  t.equal(await roundTrips(ask, 2), 2, 'connect with handshake, answer');
  const { 'no-cookie': first, taken = 0 } = await outcomes();
  t.equal(first, 1);
  t.ok(taken > 0);
});

t.test(
  'fast open: on, a server in NFQUEUE mode hears the preamble in the SYN of a redirecting client',
  { skip },
  async (t) => {
    const { ask, outcomes, cluster } = await pods(t, {}, { fastOpen: true, mode: 'nfqueue' });
    await until('a SYN has borne the preamble', async () => {
      await ask();
      return ((await outcomes())['taken'] ?? 0) > 0;
    });
    const inward = await cluster.counts('server');
    t.notOk(
      Object.keys(inward).some((kind) => kind.startsWith('inbound deny')),
      JSON.stringify(inward),
    );
  },
);

t.test('fast open: a path that eats SYNs with data is noticed once, and then spared', { skip }, async (t) => {
  const { ask, outcomes, cluster, link } = await pods(t, { eat: 'syn-data' }, { fastOpen: true });
  for (let at = 0; at < 4; at++) await ask();
  t.strictSame(await outcomes(), { 'no-cookie': 1, lost: 1, 'data-withheld': 2 });
  t.equal(cluster.log('client').match(/eats Fast Open/g)?.length, 1, 'logged once');
  const inward = await cluster.counts('server');
  t.equal(inward['inbound allow policy-allowed proven resumed'], 3, 'proven as ever');
  t.equal((await link.remove()).there.eaten, 1);
});

t.test(
  'fast open: a path that eats marked SYNs is noticed the second time, and then spared',
  { skip },
  async (t) => {
    const { ask, outcomes, cluster, link } = await pods(t, { eat: 'syn-option' }, { fastOpen: true });
    for (let at = 0; at < 4; at++) await ask();
    t.strictSame(await outcomes(), { lost: 2, 'mark-withheld': 2 });
    t.equal(cluster.log('client').match(/eats Fast Open/g)?.length, 1, 'logged once');
    const inward = await cluster.counts('server');
    t.equal(inward['inbound allow policy-allowed proven resumed'], 3, 'nobody is taken for unenrolled');
    t.equal((await link.remove()).there.eaten, 2);
  },
);
