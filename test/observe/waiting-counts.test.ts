import t from 'tap';
import { WaitingCounts } from '../../src/observe/waiting-counts.ts';

type Labels = { readonly verdict: string; readonly peer: string };

t.test('waiting counts: a counter is told each series once, with all that was added', (t) => {
  const told: [string, string, number][] = [];
  const counts = new WaitingCounts<Labels>(['verdict', 'peer'], ({ verdict, peer }, by) => {
    told.push([verdict, peer, by]);
  });
  counts.settle();
  t.strictSame(told, [], 'nothing was added');
  for (let round = 0; round < 3; round++) {
    counts.add({ verdict: 'allow', peer: 'proven' });
    counts.add({ verdict: 'allow', peer: 'node' }, 2);
  }
  counts.add({ verdict: 'deny', peer: 'proven' });
  t.strictSame(told, [], 'until it is settled');
  counts.settle();
  t.strictSame(told, [
    ['allow', 'proven', 3],
    ['allow', 'node', 6],
    ['deny', 'proven', 1],
  ]);
  counts.settle();
  t.equal(told.length, 3, 'and nothing twice');
  t.end();
});

t.test('waiting counts: values without number do not gather, and none is lost', (t) => {
  let [sum, calls] = [0, 0];
  const counts = new WaitingCounts<Labels>(['verdict', 'peer'], (_labels, by) => {
    sum += by;
    calls++;
  });
  for (let index = 0; index < 1_000; index++) counts.add({ verdict: 'allow', peer: `peer-${index}` });
  t.ok(calls >= 1_000 - 256, `${calls} are told already`);
  counts.settle();
  t.equal(sum, 1_000);
  t.end();
});
