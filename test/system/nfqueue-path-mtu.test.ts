/** Paths whose MTU is smaller in the middle: packets too big for it, those of the handshake included, are answered by ICMP, and connections come through. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';
import { RoutedPath } from '../support/routed-path.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { HASHING_SERVER, STREAMING_CLIENT } from '../support/streams.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

/** With a token that a SYN has room for, and the middle of the path has not. */
const LONG_LABELS = Object.fromEntries(
  Array.from({ length: 36 }, (_, index) => [`note-${index}`, `x${randomBytes(20).toString('base64url')}x`]),
);

t.test('NFQUEUE mode over a path with a smaller MTU in the middle', { skip, timeout: 500_000 }, async (t) => {
  const cluster = new Cluster(t);
  const labels = { drinks: 'beer', app: 'server' };
  const brief = cluster.pod('brief', { labels, mode: 'nfqueue' });
  const wordy = cluster.pod('wordy', { labels: { ...labels, ...LONG_LABELS }, mode: 'nfqueue' });
  cluster.write('policy.yaml', ALLOW_LABEL('server', 'drinks', 'beer'));
  await cluster.startSidecars('brief', 'wordy');
  const path = RoutedPath.between(
    cluster.network,
    { host: 'brief', ...brief },
    { host: 'wordy', ...wordy },
    1_280,
  );
  for (const { what, from, to } of [
    { what: 'a Hello that is too big for it', from: 'wordy', to: 'brief' },
    { what: 'a Reply that is too big for it', from: 'brief', to: 'wordy' },
  ])
    t.test(`${what}: both families, many segments, to the byte and proven`, async (t) => {
      await cluster.app(to, HASHING_SERVER(9000));
      const { four, six } = cluster.addresses.get(to)!;
      const options = {
        ...{ hosts: [four, six], port: 9000, count: 10, atOnce: 4 },
        ...{ mostBytes: 100_000, timeoutMs: 60_000 },
      };
      const { out, complaint } = await cluster.node(from, STREAMING_CLIENT(options), 120_000);
      t.strictSame(JSON.parse(out || '{}'), { right: 10, wrong: 0, errors: {} }, complaint);
      const { peer } = await cluster.flow(to, (one) => one.verdict === 'allow' && one.source.pod === from);
      t.equal(peer, 'proven');
    });
  t.test('the routers have told of it, over both families', async (t) => {
    const { four, six } = await path.tooBig();
    t.ok(four > 0 && six > 0, `IPv4: ${four} times, IPv6: ${six} times`);
  });
});
