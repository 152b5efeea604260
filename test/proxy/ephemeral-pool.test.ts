import { mock } from 'node:test';
import fc from 'fast-check';
import t from 'tap';
import { EphemeralPool, MAX_AGE_MS, MOST_KEYS } from '../../src/proxy/ephemeral-pool.ts';
import { runs } from '../support/effort.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** A pool whose time and timers stand still until the test moves them. */
function poolInTestTime(t: { teardown(end: () => void): unknown }) {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  let now = 1_000_000;
  const pool = new EphemeralPool(() => now);
  return {
    pool,
    /** In steps, as time goes. */
    wait: (milliseconds: number, step = 1): void => {
      for (let left = milliseconds; left > 0; left -= step) {
        now += Math.min(step, left);
        mock.timers.tick(Math.min(step, left));
      }
    },
  };
}

t.test(
  'ephemeral pool: no key is given away twice, whatever comes when, and there are never more than the bound',
  (t) => {
    const { pool, wait } = poolInTestTime(t);
    const given = new Set<string>();
    const step = fc.oneof(
      fc.record({ take: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ wait: fc.integer({ min: 1, max: 60 }) }),
    );
    let taken = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        for (const one of steps) {
          if ('wait' in one) wait(one.wait);
          else for (let count = 0; count < one.take; count++, taken++) given.add(hex(pool.take().publicKey));
          if (pool.size > MOST_KEYS) return false;
        }
        return given.size === taken;
      }),
      { numRuns: runs(50) },
    );
    t.ok(taken > 100);
    t.end();
  },
);

t.test('ephemeral pool: keys are made in a pause, not between handshakes, and a waiting one is used', (t) => {
  const { pool, wait } = poolInTestTime(t);
  for (let busy = 0; busy < 10; busy++) {
    pool.take();
    wait(1);
    t.equal(pool.size, 0);
  }
  wait(20);
  t.equal(pool.size, MOST_KEYS);
  pool.take();
  t.equal(pool.size, MOST_KEYS - 1);
  t.end();
});

t.test('attack: a key that lay in memory for long is not used, and does not stay there', (t) => {
  const { pool, wait } = poolInTestTime(t);
  pool.take();
  wait(100);
  t.equal(pool.size, MOST_KEYS);
  wait(MAX_AGE_MS, 1_000);
  t.equal(pool.size, 0, 'nobody asked for them');
  wait(10 * MAX_AGE_MS, 1_000);
  t.equal(pool.size, 0, 'and nobody made new ones for nobody');

  mock.timers.reset();
  let now = 0;
  const late = new EphemeralPool(() => now);
  mock.timers.enable({ apis: ['setTimeout'] });
  late.take();
  mock.timers.tick(100);
  for (let round = 0; round < 10; round++) mock.timers.tick(2);
  t.equal(late.size, MOST_KEYS);
  // The timer is late, as in a process that was stopped.
  now += MAX_AGE_MS;
  late.take();
  t.equal(late.size, 0, 'one made now was given instead');
  t.end();
});

t.test('ephemeral pool: closed, it holds nothing and makes nothing', (t) => {
  const { pool, wait } = poolInTestTime(t);
  pool.take();
  wait(100);
  pool.close();
  t.equal(pool.size, 0);
  t.equal(pool.take().publicKey.length, 32, 'a handshake that is under way gets its key');
  wait(100);
  t.equal(pool.size, 0);
  t.end();
});
