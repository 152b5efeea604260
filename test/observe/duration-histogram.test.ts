import fc from 'fast-check';
import { Histogram, Registry } from 'prom-client';
import t from 'tap';
import { DurationHistogram } from '../../src/observe/duration-histogram.ts';
import { parseExposition } from './exposition.ts';

const described = { name: 'wait_seconds', help: 'how long', buckets: [0.001, 0.005, 1] };
const labelsOf = (kind: string, of = 'nobody') => ({ kind, of });

t.test("duration histogram: says exactly what the registry's own histogram says", async (t) => {
  const observation = fc.record({
    seconds: fc.oneof(fc.double({ min: 0, max: 3, noNaN: true }), fc.constantFrom(...described.buckets)),
    kind: fc.constantFrom('a', 'b'),
    of: fc.constantFrom('c', 'd', undefined),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(observation, { maxLength: 60 }), async (observations) => {
      const [own, oracle] = [new Registry(), new Registry()];
      const histogram = new DurationHistogram(described, labelsOf);
      own.registerMetric(histogram.metric);
      const theirs = new Histogram({ ...described, labelNames: ['kind', 'of'], registers: [oracle] });
      for (const { seconds, kind, of } of observations) {
        histogram.observe(seconds, kind, of);
        theirs.observe(labelsOf(kind, of), seconds);
      }
      const [said, expected] = [await own.metrics(), await oracle.metrics()];
      t.strictSame(parseExposition(said), parseExposition(expected));
      return said === expected;
    }),
    { numRuns: 50 },
  );
});

t.test('duration histogram: what its labels make one series of is one', async (t) => {
  const registry = new Registry();
  const histogram = new DurationHistogram(described, () => ({ kind: 'unknown' }));
  registry.registerMetric(histogram.metric);
  for (let index = 0; index < 1_000; index++) histogram.observe(0.002, `text ${index}`);
  const samples = parseExposition(await registry.metrics());
  t.equal(samples.length, 4 + 2);
  t.equal(samples.find(({ name }) => name === 'wait_seconds_count')?.value, 1_000);
});
