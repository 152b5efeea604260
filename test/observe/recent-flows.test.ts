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

t.test('recent flows: what is told is copied, since it is used again for the next flow', (t) => {
  const recent = new RecentFlows(2);
  const source = { ...FACTS.source };
  const facts = { ...FACTS, source };
  const ending = { ...ENDING };
  recent.add(facts, ALLOWED, ending, 1);
  source.address = '10.9.9.9';
  source.pod = 'somebody-else';
  facts.direction = 'outbound';
  ending.bytesIn = 0;
  t.match(recent.list(), [{ direction: 'inbound', source: FACTS.source, bytes_in: ENDING.bytesIn }]);
  recent.add({ ...FACTS, source: { ...FACTS.source, trustDomain: 'partner.example' } }, ALLOWED, ENDING, 2);
  recent.add(FACTS, ALLOWED, ENDING, 3);
  recent.add({ ...FACTS, source: { address: '192.0.2.1', port: 1 } }, ALLOWED, ENDING, 4);
  t.match(
    recent.list().map(({ source }) => source),
    [
      { pod: 'web-1', trust_domain: null },
      { address: '192.0.2.1', namespace: null, pod: null, trust_domain: null },
    ],
    'nothing is left of the flow that had the place before',
  );
  t.end();
});
