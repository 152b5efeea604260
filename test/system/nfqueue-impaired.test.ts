/** NFQUEUE mode over a path that loses, doubles and disorders packets, and under a flood: no wrong verdict, no byte too much. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { runs } from '../support/effort.ts';
import { type Impairment, ImpairedLink } from '../support/impaired-link.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { HASHING_SERVER, type StreamCounts, STREAMING_CLIENT } from '../support/streams.ts';
import { GARBAGE_SYNS } from '../support/syn-flood.ts';
import { until } from '../support/until.ts';

const skip = cannotNetns();
t.setTimeout(3_000_000);
const NFQUEUE = { mode: 'nfqueue' } as const;
const STREAMS = runs(20);

const PATHS: readonly Impairment[] = [
  { loss: 0.01, duplicate: 0.2, reorder: 0.2, delayMs: 5, jitterMs: 5 },
  { loss: 0.1, duplicate: 0.1, reorder: 0.1, delayMs: 2 },
  { loss: 0.2, duplicate: 0.2, reorder: 0.2 },
  // The stream carrier takes over, once per address.
  { eat: 'syn-data' },
];

t.test('nfqueue mode over bad paths', { skip, timeout: 2_900_000 }, async (t) => {
  const cluster = new Cluster(t);
  const server = cluster.pod('server', { labels: { app: 'server' }, ...NFQUEUE });
  const approved = cluster.pod('approved', { labels: { drinks: 'beer' }, ...NFQUEUE });
  const other = cluster.pod('other', NFQUEUE);
  cluster.pod('stranger', { sidecar: false });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('server', 'approved', 'other');
  await cluster.app('server', HASHING_SERVER(9000));

  const streams = async (from: string, count: number, atOnce: number): Promise<StreamCounts> => {
    const hosts = [server.four, server.six];
    const source = STREAMING_CLIENT({
      hosts,
      port: 9000,
      count,
      atOnce,
      mostBytes: 5_000,
      timeoutMs: 90_000,
    });
    const { out, complaint } = await cluster.node(from, source, 1_200_000);
    if (out === '') throw new Error(`the client ended without a word: ${complaint}`);
    return JSON.parse(out) as StreamCounts;
  };

  t.test('with a flood of SYNs with garbage identities, 99 of 100 honest streams arrive', async (t) => {
    const source = GARBAGE_SYNS(server.four, 9000, 20_000_000, FrameFormat.magic);
    const flood = cluster.network.start('stranger', ['python3', '-c', source]);
    let said = '';
    flood.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    while (!said.includes('begun')) await sleep(10);
    const { right, wrong, errors } = await streams('approved', 100, 5);
    t.equal(wrong, 0);
    t.ok(right >= 99, `${right} of 100: ${JSON.stringify(errors)}`);
    await until('the others are dropped before TypeScript is called', async () => {
      const { out } = await cluster.curl('server', 'http://127.0.0.1:14020/metrics');
      return Number(/^countersign_queue_strangers_dropped_total (\d+)$/m.exec(out)?.[1]) > 0;
    });
    t.notMatch(said, /sent/, 'and all the while the flood lasted');
    t.equal(flood.exitCode, null);
    flood.kill('SIGKILL');
    t.notOk(
      cluster
        .flows('server')
        .some(({ verdict, source: { pod } }) => verdict === 'allow' && pod !== 'approved'),
      'and nobody else was let in',
    );
  });

  for (const how of PATHS) {
    t.test(`over a path with ${JSON.stringify(how)}`, async (t) => {
      const end = (host: string, address: { four: string; six: string }) => ({ host, ...address });
      const links = await Promise.all([
        ImpairedLink.between(cluster.network, end('approved', approved), end('server', server), how),
        ImpairedLink.between(cluster.network, end('other', other), end('server', server), {
          ...how,
          seed: 2,
        }),
      ]);
      const [good, bad] = await Promise.all([
        streams('approved', STREAMS, 20),
        streams('other', Math.ceil(STREAMS / 2), 20),
      ]);
      t.comment(JSON.stringify({ good, bad }));
      t.equal(good.wrong, 0, 'no byte too much or too few');
      t.strictSame(good.errors, {}, 'and nobody who may come in is refused');
      t.match(bad, { right: 0, wrong: 0 }, 'nothing of a refused client arrives');
      for (const link of links) await link.remove();
      const wrongly = cluster
        .flows('server')
        .filter(({ source: { pod }, verdict }) => pod === 'other' && verdict === 'allow');
      t.strictSame(wrongly, []);
    });
  }
});
