/** Paths that lose, double, delay and disorder packets, as in test/system/nfqueue-impaired, between pods of different modes: no wrong verdict, no byte too much. */
import t from 'tap';
import { runs } from '../support/effort.ts';
import { type Impairment, ImpairedLink } from '../support/impaired-link.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { HASHING_SERVER, type StreamCounts, STREAMING_CLIENT } from '../support/streams.ts';

const skip = cannotNetns();
t.setTimeout(3_000_000);
const STREAMS = runs(10);
const PATHS: readonly Impairment[] = [
  { loss: 0.01, duplicate: 0.2, reorder: 0.2, delayMs: 5, jitterMs: 5 },
  { loss: 0.2, duplicate: 0.2, reorder: 0.2 },
];
const PAIRS = [
  { client: 'nfqueue', server: 'redirect' },
  { client: 'redirect', server: 'nfqueue' },
] as const;
/** What a handshake may end with for lack of time, where packets are lost, or because one came twice. */
const LATE = /^(replay|handshake-timeout|handshake-aborted|refused-by-peer|dial-failed)$/;

t.test('pods of different modes over bad paths', { skip, timeout: 2_900_000 }, async (t) => {
  const cluster = new Cluster(t);
  for (const mode of ['nfqueue', 'redirect'] as const) {
    cluster.pod(`server-${mode}`, { labels: { app: 'server' }, mode });
    cluster.pod(`approved-${mode}`, { labels: { drinks: 'beer' }, mode });
    cluster.pod(`other-${mode}`, { mode });
  }
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars(...cluster.addresses.keys());
  for (const { server } of PAIRS) await cluster.app(`server-${server}`, HASHING_SERVER(9000));

  const streams = async (from: string, to: string, count: number): Promise<StreamCounts> => {
    const { four, six } = cluster.addresses.get(to)!;
    const hosts = [four, six];
    const options = { hosts, port: 9000, count, atOnce: 10, mostBytes: 5_000, timeoutMs: 90_000 };
    const { out, complaint } = await cluster.node(from, STREAMING_CLIENT(options), 1_200_000);
    if (out === '') throw new Error(`the client ended without a word: ${complaint}`);
    return JSON.parse(out) as StreamCounts;
  };
  const end = (host: string) => ({ host, ...cluster.addresses.get(host)! });

  for (const how of PATHS) {
    const run = async (client: string, server: string) => {
      const [good, bad] = [`approved-${client}`, `other-${client}`];
      const links = await Promise.all(
        [good, bad].map((from, index) =>
          ImpairedLink.between(cluster.network, end(from), end(`server-${server}`), {
            ...how,
            seed: index + 1,
          }),
        ),
      );
      const [ofGood, ofBad] = await Promise.all([
        streams(good, `server-${server}`, STREAMS),
        streams(bad, `server-${server}`, Math.ceil(STREAMS / 2)),
      ]);
      for (const link of links) await link.remove();
      return { ofGood, ofBad };
    };
    t.test(`over paths with ${JSON.stringify(how)}`, async (t) => {
      const all = await Promise.all(PAIRS.map(({ client, server }) => run(client, server)));
      for (const [index, { ofGood, ofBad }] of all.entries()) {
        const { client, server } = PAIRS[index]!;
        const what = `${client} to ${server}`;
        t.comment(what, JSON.stringify({ ofGood, ofBad }));
        t.equal(ofGood.wrong, 0, `${what}: no byte too much or too few`);
        t.ok(ofGood.right > 0, `${what}: who may come in does`);
        t.match(ofBad, { right: 0, wrong: 0 }, `${what}: nothing of a refused client arrives`);
        const flows = cluster.flows(`server-${server}`);
        t.notOk(
          flows.some(({ source: { pod }, verdict }) => pod === `other-${client}` && verdict === 'allow'),
        );
        const refused = flows.filter(
          ({ source: { pod }, verdict, reason }) =>
            pod === `approved-${client}` && verdict === 'deny' && !LATE.test(reason),
        );
        t.strictSame(refused, [], `${what}: and is not refused by policy or proof`);
      }
    });
  }
});
