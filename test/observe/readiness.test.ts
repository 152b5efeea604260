import t from 'tap';
import { CONDITIONS, Readiness, waitOf } from '../../src/observe/readiness.ts';

t.test('readiness: since when each condition holds, and not when it does not', (t) => {
  let now = 7;
  const readiness = new Readiness(
    () => {},
    () => now,
  );
  readiness.set('listeners', undefined);
  now = 9;
  readiness.set('source', undefined);
  readiness.set('listeners', undefined);
  t.strictSame(readiness.since, { listeners: 7, source: 9 });
  readiness.set('source', 'gone');
  t.strictSame(readiness.since, { listeners: 7 });
  t.end();
});

t.test('readiness: it starts as not ready, with every condition named', (t) => {
  const readiness = new Readiness();
  t.notOk(readiness.ready);
  t.equal(readiness.text, CONDITIONS.map((condition) => `${condition}: not yet`).join('\n'));
  t.end();
});

t.test('readiness: it takes every single condition', (t) => {
  for (const missing of CONDITIONS) {
    const readiness = new Readiness();
    for (const condition of CONDITIONS) if (condition !== missing) readiness.set(condition, undefined);
    t.notOk(readiness.ready, missing);
    t.equal(readiness.text, `${missing}: not yet`);
    readiness.set(missing, undefined);
    t.ok(readiness.ready);
    t.equal(readiness.text, 'ready');
  }
  t.end();
});

t.test(
  'readiness: what is lost again is told in the order of the list, and only changes are announced',
  (t) => {
    const told: boolean[] = [];
    const readiness = new Readiness((ready) => told.push(ready));
    for (const condition of CONDITIONS) readiness.set(condition, undefined);
    readiness.set('serving', 'shutting down');
    readiness.set('identity', 'the own identity has ended');
    readiness.set('identity', 'still ended');
    t.equal(readiness.text, 'identity: still ended\nserving: shutting down');
    readiness.set('serving', undefined);
    readiness.set('identity', undefined);
    t.strictSame(told, [true, false, true]);
    t.end();
  },
);

t.test('readiness: a problem is one bounded line, whatever its text', (t) => {
  const readiness = new Readiness();
  for (const condition of CONDITIONS) readiness.set(condition, undefined);
  readiness.set('source', `pods.yaml:3: \u001b[31m${'x'.repeat(10_000)}\nredirect: fake`);
  t.match(readiness.text, /^source: pods\.yaml:3: \ufffd\[31mx+…$/);
  t.ok(readiness.text.length < 400);
  t.end();
});

t.test(
  'readiness: who waits is told at once when it comes, and at the end of the time when not',
  async (t) => {
    const readiness = new Readiness();
    await readiness.within(20);
    t.notOk(readiness.ready, 'the time was over');
    const waits = Array.from({ length: 16 }, () => readiness.within(600_000));
    await readiness.within(600_000);
    t.pass('who comes when many wait is answered at once');
    for (const condition of CONDITIONS) readiness.set(condition, undefined);
    await Promise.all(waits);
    t.ok(readiness.ready);
    await readiness.within(600_000);
    readiness.set('serving', 'shutting down');
    const next = readiness.within(600_000);
    readiness.set('serving', undefined);
    await next;
  },
);

t.test('readiness: how long a request waits, by its query', (t) => {
  for (const [query, ms] of [
    ['wait=4', 4_000],
    ['wait=0', 0],
    ['wait=9', 9_000],
    ['', 0],
    ['wait=10', 0],
    ['wait=-1', 0],
    ['wait', 0],
    ['wait=4&x=1', 0],
    ['await=4', 0],
  ] as const)
    t.equal(waitOf(query), ms, query);
  t.end();
});
