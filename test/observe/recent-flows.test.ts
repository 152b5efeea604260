import t from 'tap';
import { RecentFlows } from '../../src/observe/recent-flows.ts';
import { ALLOWED, ENDING, FACTS } from './facts.ts';

t.test('recent flows: the last ones are kept, oldest first, and no more than asked for', (t) => {
  const recent = new RecentFlows(3);
  t.strictSame(recent.list(), []);
  const times = [1, 2, 3, 4, 5].map((now) => {
    recent.add(FACTS, ALLOWED, ENDING, now);
    return recent.list().map(({ time }) => Date.parse(time));
  });
  t.strictSame(times, [[1], [1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]);
  t.end();
});
