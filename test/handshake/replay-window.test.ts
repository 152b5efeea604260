import fc from 'fast-check';
import t from 'tap';
import { REPLAY_WINDOW, ReplayWindow } from '../../src/handshake/replay-window.ts';
import { runs } from '../support/effort.ts';

t.test('replay window: agrees with a plain set of counters, however they arrive', (t) => {
  const counter = fc.oneof(
    fc.integer({ min: 0, max: 300_000 }),
    fc.integer({ min: 0, max: 5_000 }),
    fc.integer({ min: 64_000, max: 67_000 }),
  );
  fc.assert(
    fc.property(fc.array(counter, { maxLength: 400 }), (counters) => {
      const window = new ReplayWindow();
      const seen = new Set<number>();
      let highest = -1;
      for (const value of counters) {
        const expected = value <= highest - REPLAY_WINDOW ? 'too-old' : seen.has(value) ? 'seen' : 'fresh';
        if (window.use(BigInt(value)) !== expected) return false;
        if (expected === 'fresh') seen.add(value);
        highest = Math.max(highest, expected === 'fresh' ? value : highest);
      }
      return true;
    }),
    { numRuns: runs(500) },
  );
  t.end();
});

t.test(
  'replay window: tells fresh from seen across its whole width, and one further back as too old',
  (t) => {
    const window = new ReplayWindow();
    t.equal(window.use(0n), 'fresh');
    t.equal(window.use(BigInt(REPLAY_WINDOW)), 'fresh');
    t.equal(window.use(0n), 'too-old');
    t.equal(window.use(1n), 'fresh', 'the oldest counter inside');
    t.equal(window.use(1n), 'seen');
    t.equal(window.use(BigInt(REPLAY_WINDOW)), 'seen');
    t.end();
  },
);

t.test(
  'replay window: a counter from the end of the number space neither passes nor moves the window',
  (t) => {
    const window = new ReplayWindow();
    t.equal(window.use(5n), 'fresh');
    t.equal(window.use(2n ** 64n - 1n), 'too-old');
    t.equal(window.use(6n), 'fresh');
    t.equal(window.use(5n), 'seen');
    t.end();
  },
);
