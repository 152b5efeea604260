import t from 'tap';
import { type Impairment, ImpairedLink } from '../support/impaired-link.ts';
import { cannotNetns } from '../support/netns.ts';
import { ALLOW_LABEL, Cluster } from '../support/sidecars.ts';
import { DIGEST_CLIENT, DIGEST_SERVER, type DigestOutcome } from '../support/digest-streams.ts';

const skip = cannotNetns();
t.setTimeout(600_000);

t.test('nfqueue mode on bad links', { skip }, async (t) => {
  const cluster = new Cluster(t);
  const web = { host: 'web', ...cluster.pod('web', { labels: { app: 'web' }, mode: 'nfqueue' }) };
  const other = { host: 'other', ...cluster.pod('other', { labels: { app: 'other' }, mode: 'nfqueue' }) };
  const db = { host: 'db', ...cluster.pod('db', { labels: { app: 'db' }, mode: 'nfqueue' }) };
  cluster.write('policy.yaml', ALLOW_LABEL('db', 'app', 'web'));
  await cluster.startSidecars('web', 'other', 'db');
  await cluster.app('db', DIGEST_SERVER(8080));

  const streams = async (from: typeof web, how: Impairment, count: number): Promise<DigestOutcome> => {
    const link = await ImpairedLink.between(cluster.network, from, db, how);
    const { out } = await cluster.node(from.host, DIGEST_CLIENT(db.four, 8080, count, 10), 180_000);
    await link.remove();
    return JSON.parse(out) as DigestOutcome;
  };
  const bad: Impairment = { loss: 0.05, duplicate: 0.1, reorder: 0.1, delayMs: 2, jitterMs: 2 };

  t.test(
    'nfqueue mode: with loss, duplicates and reordering every stream arrives whole or not at all',
    async (t) => {
      const { right, wrong, errors } = await streams(web, bad, 60);
      t.strictSame(wrong, []);
      t.ok(right > 50, `${right} of 60 arrived, ${JSON.stringify(errors)}`);
    },
  );

  t.test(
    'nfqueue mode: with loss, duplicates and reordering nobody gets in whom policy denies',
    async (t) => {
      const { right, wrong } = await streams(other, { ...bad, seed: 2 }, 30);
      t.equal(right, 0);
      t.strictSame(wrong, []);
    },
  );

  t.test(
    'nfqueue mode: a path that eats SYNs with data is served by the stream carrier, proven all the same',
    async (t) => {
      const { right, wrong, errors } = await streams(web, { eat: 'syn-data' }, 5);
      t.strictSame({ right, wrong, errors }, { right: 5, wrong: [], errors: {} });
      t.match(cluster.log('web'), /calls of this address use the stream carrier for a while/);
      const { out } = await cluster.curl('web', 'http://127.0.0.1:14020/metrics');
      t.match(out, /^countersign_carrier_fallbacks_total 1$/m);
      const denied = await streams(other, { eat: 'syn-data' }, 2);
      t.equal(denied.right, 0, 'it is no way round policy');
    },
  );
});
