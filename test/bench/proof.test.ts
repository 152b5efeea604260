import t from 'tap';
import { parseCounts, voidReason } from '../../bench/proof.ts';
import { busySeconds, foreignCpus } from '../../bench/quiet.ts';
import { packetsHandedOver } from '../../bench/queued-packets.ts';
import { connectionsThatFit, parseSmaps } from '../../bench/memory.ts';

const series = (given: Record<string, string>): string =>
  Object.entries({
    direction: 'inbound',
    verdict: 'allow',
    reason: 'policy',
    peer: 'proven',
    handshake: 'resumed',
    ...given,
  })
    .map(([label, value]) => `${label}="${value}"`)
    .join(',');
const counts = (...lines: [Record<string, string>, number][]) =>
  parseCounts(
    lines.map(([labels, value]) => `countersign_connections_total{${series(labels)}} ${value}\n`).join(''),
  );
const demand = { direction: 'inbound', connections: 50 } as const;

t.test('benchmark: a sample counts when every connection was counted as proven, over all replicas', (t) => {
  const before = [counts([{}, 7]), counts()];
  const after = [counts([{}, 37], [{ handshake: 'full' }, 1]), counts([{}, 19])];
  t.equal(voidReason(before, after, demand), undefined);
  t.end();
});

t.test('benchmark: a sample is void when connections are missing from the counter, or too many', (t) => {
  for (const counted of [0, 49, 51]) {
    t.match(
      voidReason([counts()], [counts([{}, counted])], demand),
      `50 connections were made, ${counted} were`,
    );
  }
  t.end();
});

t.test('benchmark: a sample is void when a connection had another peer or another verdict', (t) => {
  const others = [{ peer: 'unproven' }, { peer: 'external' }, { verdict: 'deny' }, { verdict: 'would_deny' }];
  for (const other of others) {
    t.match(voidReason([counts()], [counts([{}, 50], [other, 1])], demand), /^1 connections were counted as/);
  }
  t.end();
});

t.test('benchmark: a sample is void when a sidecar was started again, whatever it counted then', (t) => {
  const before = [counts([{}, 7], [{ verdict: 'deny', reason: 'policy-denied' }, 3])];
  for (const after of [
    counts([{}, 57]),
    counts([{}, 57], [{ verdict: 'deny', reason: 'policy-denied' }, 2]),
    counts([{}, 6], [{ verdict: 'deny', reason: 'policy-denied' }, 3]),
    counts(),
  ]) {
    t.match(voidReason(before, [after], demand), /started again/);
  }
  t.end();
});

t.test('benchmark: first contact is void when a connection was resumed', (t) => {
  const wanted = { ...demand, handshake: 'full' } as const;
  t.equal(voidReason([counts()], [counts([{ handshake: 'full' }, 50])], wanted), undefined);
  t.match(
    voidReason([counts()], [counts([{ handshake: 'full' }, 49], [{}, 1])], wanted),
    '1 of 50 connections were resumed where first contact was wanted',
  );
  t.end();
});

t.test('benchmark: the other direction does not count', (t) => {
  t.match(
    voidReason([counts()], [counts([{ direction: 'outbound' }, 50])], demand),
    '50 connections were made, 0 were counted',
  );
  t.end();
});

t.test('benchmark: what others use is what the machine was busy with less our own', (t) => {
  const stat = 'cpu  1000 100 500 90000 50 30 400 25 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n';
  t.equal(busySeconds(stat), 16.25, 'user, nice, system and stolen; no idling, no interrupts');
  t.equal(foreignCpus(3, 2, 2), 0.5);
  t.equal(foreignCpus(2, 3, 2), 0, 'never less than nothing');
  t.end();
});

t.test(
  'benchmark: memory is read from smaps_rollup, and no more connections are opened than descriptors allow',
  (t) => {
    const text = 'Rss:               68000 kB\nPss:               25000 kB\nPrivate_Dirty:     17000 kB\n';
    t.strictSame(parseSmaps(text), {
      resident: 68_000 * 1024,
      proportional: 25_000 * 1024,
      privateDirty: 17_000 * 1024,
    });
    t.equal(
      connectionsThatFit(
        'Max open files            20000                20000                files\n',
        10_000,
      ),
      9_500,
    );
    t.equal(
      connectionsThatFit(
        'Max open files            1024                 524288               files\n',
        10_000,
      ),
      10_000,
    );
    t.end();
  },
);

t.test('benchmark: packets that the queues handed over are summed over the queues', (t) => {
  const text =
    ' 14101  21466     0 2 65531     0     0        4  1\n 14100  21466     0 2 65531     0     0        7  1\n';
  t.equal(packetsHandedOver(text), 11);
  t.equal(packetsHandedOver(''), 0);
  t.end();
});
