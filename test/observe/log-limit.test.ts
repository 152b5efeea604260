import fc from 'fast-check';
import t from 'tap';
import { LogLimit } from '../../src/observe/log-limit.ts';

t.test(
  'log limit: so many of a kind pass per interval, the next one that passes says how many did not',
  (t) => {
    const limit = new LogLimit<'a' | 'b'>(2, 1_000);
    t.strictSame(
      [0, 1, 2, 3, 999].map((now) => limit.admit('a', now)),
      [0, 0, undefined, undefined, undefined],
    );
    t.equal(limit.admit('b', 999), 0, 'another kind has its own share');
    t.strictSame(
      [1_000, 1_001, 1_002].map((now) => limit.admit('a', now)),
      [3, 0, undefined],
    );
    t.end();
  },
);

t.test('log limit: every line is either written or reported as left out', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 400 }), { maxLength: 200 }), (pauses) => {
      const limit = new LogLimit<'a'>(3, 1_000);
      let [now, written, suppressed] = [0, 0, 0];
      for (const pause of pauses) {
        now += pause;
        const admitted = limit.admit('a', now);
        if (admitted !== undefined) {
          written++;
          suppressed += admitted;
        }
      }
      const last = limit.admit('a', now + 1_000);
      return last !== undefined && written + suppressed + last === pauses.length;
    }),
  );
  t.end();
});
