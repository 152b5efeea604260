import t from 'tap';
import { difference, ratio, reading } from '../../bench/figures.ts';
import { addedRoundTrips, targetRows } from '../../bench/targets.ts';
import { resultOf, sample } from './example.ts';

t.test('benchmark: figures are read off a sample in their units', (t) => {
  const result = resultOf([
    sample('haproxy', 'bulk1', { bytes: 2.5e9, seconds: 2, proxyCpu: 5, allCpu: 10 }),
    sample('haproxy', 'rate', { connections: 3_000, seconds: 2, proxyCpu: 0.6 }),
    sample('haproxy', 'ping', { p50: 138 }),
  ]);
  const median = (name: Parameters<typeof reading>[1]) => reading(result, name, 'haproxy')?.median;
  t.equal(median('bulk1'), 10, 'Gbit/s');
  t.equal(median('cpuPerGb'), 2, 's/GB');
  t.equal(median('bytesPerCpu1'), 0.25, 'GB per CPU second');
  t.equal(median('rate'), 1_500);
  t.equal(median('cpuPerConnection'), 200, 'us');
  t.equal(median('ping'), 138);
  t.equal(median('connect'), undefined, 'not measured');
  t.end();
});

t.test('benchmark: of wall times quiet samples alone count, of CPU times all', (t) => {
  const result = resultOf([
    sample('haproxy', 'rate', { round: 0, seconds: 1, proxyCpu: 0.2 }),
    sample('haproxy', 'rate', { round: 1, seconds: 4, proxyCpu: 0.4, foreignCpus: 1 }),
    sample('haproxy', 'rate', { round: 2, seconds: 5, proxyCpu: 0.6, foreignCpus: 1 }),
  ]);
  t.match(reading(result, 'rate', 'haproxy'), { median: 1_000, count: 1, quiet: true });
  t.match(reading(result, 'cpuPerConnection', 'haproxy'), { median: 400, count: 3 });
  t.end();
});

t.test('benchmark: without a quiet sample all count, and it is said', (t) => {
  const result = resultOf([sample('haproxy', 'rate', { seconds: 2, foreignCpus: 0.5 })]);
  t.match(reading(result, 'rate', 'haproxy'), { median: 500, quiet: false });
  t.end();
});

t.test('benchmark: ratios and differences are taken round by round', (t) => {
  const result = resultOf([
    sample('direct', 'connect', { round: 0, p50: 100 }),
    sample('countersign', 'connect', { round: 0, p50: 200 }),
    // Everything is ten times slower here; the ratio is not.
    sample('direct', 'connect', { round: 1, p50: 1_000 }),
    sample('countersign', 'connect', { round: 1, p50: 2_000 }),
    // Half of a round is no round.
    sample('countersign', 'connect', { round: 2, p50: 9_000 }),
  ]);
  t.match(ratio(result, 'connect', 'countersign', 'direct'), { median: 2, least: 2, most: 2, count: 2 });
  t.match(difference(result, 'connect', 'countersign', 'direct'), { least: 100, most: 1_000, count: 2 });
  t.end();
});

t.test('benchmark: a ratio of wall times is quiet only when both samples are', (t) => {
  const result = resultOf([
    sample('direct', 'connect', { p50: 100, foreignCpus: 1 }),
    sample('countersign', 'connect', { p50: 150 }),
  ]);
  t.match(ratio(result, 'connect', 'countersign', 'direct'), { median: 1.5, quiet: false });
  t.end();
});

t.test('benchmark: round trips added on the delayed link are counted in units of its delay', (t) => {
  const result = resultOf([
    sample('direct', 'far', { p50: 40_200 }),
    sample('countersign', 'far', { p50: 60_200 }),
  ]);
  t.equal(addedRoundTrips(result, 'countersign')?.median, 1);
  t.end();
});

t.test('benchmark: a target is met, missed, or open without a quiet round or without samples', (t) => {
  const row = (p50: number, foreignCpus: number) =>
    targetRows(
      resultOf([
        sample('haproxy', 'ping', { p50: 100 }),
        sample('countersign', 'ping', { p50, foreignCpus }),
      ]),
    ).find(({ what }) => what.startsWith('ping-pong p50: countersign'));
  t.match(row(90, 0), { verdict: 'met', measured: '0.9x', target: '<= 1x' });
  t.match(row(101, 0), { verdict: 'missed' });
  t.match(row(90, 1), { verdict: 'open', measured: '0.9x, no quiet round' });
  const rows = targetRows(resultOf([]));
  t.ok(rows.length > 20);
  t.ok(rows.every(({ verdict, measured }) => verdict === 'open' && measured === 'not measured'));
  t.end();
});

t.test('benchmark: a target with a lower bound is missed below it', (t) => {
  const row = (connections: number) =>
    targetRows(
      resultOf([
        sample('haproxy', 'rate', { connections: 1_000 }),
        sample('countersign', 'rate', { connections }),
      ]),
    ).find(({ what }) => what === 'new connections/s: countersign / HAProxy TCP');
  t.match(row(800), { verdict: 'met', target: '>= 0.8x' });
  t.match(row(799), { verdict: 'missed' });
  t.end();
});
