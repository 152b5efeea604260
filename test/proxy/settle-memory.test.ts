import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { settleMemory } from '../../src/proxy/settle-memory.ts';
import { until } from '../support/until.ts';

t.test('memory: after a burst of connections what is free is given back, once', async (t) => {
  let trims = 0;
  const settling = settleMemory({ trimMemory: () => trims++ }, { afterStartMs: 1_000_000, afterBurstMs: 1 });
  t.teardown(() => settling.close());
  for (let count = 0; count < 499; count++) settling.opened();
  await sleep(20);
  t.equal(trims, 0, 'few connections are no burst');
  for (let count = 0; count < 300; count++) settling.opened();
  await until('trimmed', () => trims > 0);
  settling.opened();
  await sleep(20);
  t.equal(trims, 1, 'the next burst is counted from there');
});
