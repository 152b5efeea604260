import fc from 'fast-check';
import t from 'tap';
import { ClockSteps } from '../../src/proxy/clock-steps.ts';

t.test('clock steps: a clock that is set is noticed once, either way, and a machine that slept too', (t) => {
  const steps = new ClockSteps();
  t.notOk(steps.look(1_000_000, 50), 'the first look knows nothing');
  t.notOk(steps.look(1_001_000, 1_050));
  t.ok(steps.look(1_001_000 + 5 * 3_600_000, 2_050), 'five hours on');
  t.notOk(steps.look(1_002_000 + 5 * 3_600_000, 3_050), 'once');
  t.ok(steps.look(1_003_000, 4_050), 'and back');
  t.end();
});

t.test('clock steps: looks that come late, and a clock that is slewed, are no steps', (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ after: fc.integer({ min: 0, max: 60_000 }), slew: fc.integer({ min: -500, max: 500 }) }),
      ),
      (looks) => {
        const steps = new ClockSteps();
        let [wall, monotonic] = [1_800_000_000_000, 0];
        return looks.every(({ after, slew }) => {
          monotonic += after;
          wall += after + (after * slew) / 1e6;
          return !steps.look(wall, monotonic);
        });
      },
    ),
  );
  t.end();
});
