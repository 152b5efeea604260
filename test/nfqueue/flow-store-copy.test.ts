/** The file of verified flows while it is written anew in turns: others go on, and a crash at any moment loses nothing. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import { flowId, type KeptFlow } from '../../src/nfqueue/flow-record-lines.ts';
import { FlowStore } from '../../src/nfqueue/flow-store.ts';
import { WEB } from './web-identity.ts';

/** So that a few thousand flows are some megabytes. */
const LONG = 'x'.repeat(500);

/** @param since tells a flow from an earlier one on the same ports */
function flow(number: number, since = 0): KeptFlow {
  return {
    direction: 'inbound',
    source: { address: `10.0.${number >> 15}.1`, port: 1 + (number & 0x7fff), namespace: 'demo', pod: LONG },
    destination: { address: '10.1.0.2', port: 80 },
    handshake: 'full',
    since,
    judgement: { verdict: 'allow', reason: 'policy-allowed', policy: 'networkpolicy/demo/db', rule: 1 },
    peer: WEB,
  };
}

function idOf({ direction, source, destination }: KeptFlow): string {
  return flowId(direction, source, destination);
}

const never = (problem: string): void => {
  throw new Error(problem);
};

/** What a run after a crash would read, from a copy, since reading begins a new run: when each flow began, by its name. */
function afterCrash(file: string, folder: string): ReadonlyMap<string, number> {
  const copy = join(folder, 'copy');
  copyFileSync(file, copy);
  const next = new FlowStore(copy, never);
  next.close();
  if (next.unreadable > 0) throw new Error(`${next.unreadable} lines could not be read`);
  return new Map([...next.kept].map(([id, { since }]) => [id, since]));
}

t.test('flow state: written anew it takes a small part of all flows in each turn', async (t) => {
  const FLOWS = 20_000;
  const folder = t.testdir();
  const file = join(folder, 'flows');
  const store = new FlowStore(file, never);
  const live = new Map<string, number>();
  let [turns, longest, copies] = [0, 0, 0];
  let [length, number] = [0, 0];
  while (number < FLOWS || length > 0) {
    for (let some = 0; some < 100 && number < FLOWS; some++, number++) {
      const one = flow(number);
      store.add(idOf(one), one);
      live.set(idOf(one), 0);
    }
    await nextTurn();
    const now = existsSync(`${file}.new`) ? statSync(`${file}.new`).size : 0;
    if (now > 0) turns++;
    else if (length > 0) copies++;
    longest = Math.max(longest, now - length);
    length = now;
  }
  t.ok(copies >= 3, `it was written anew ${copies} times`);
  t.ok(turns >= 20, `in ${turns} turns`);
  const each = statSync(file).size / FLOWS;
  // What is copied in a turn, and what came in it.
  t.ok(longest < 1_000 * each, `${longest} bytes at most in one of them`);
  t.strictSame(afterCrash(file, folder), live, 'and has them all');
  store.close();
});

const change = fc.record({
  at: fc.nat(2_999),
  count: fc.integer({ min: 1, max: 400 }),
  end: fc.boolean(),
});

t.test(
  'flow state: a crash in any turn finds what was there at its end, also while it is written anew',
  (t) =>
    fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 8, maxLength: 20 }), async (changes) => {
        const folder = t.testdir();
        const file = join(folder, 'flows');
        const store = new FlowStore(file, never);
        const live = new Map<string, number>();
        let since = 0;
        const add = (number: number): void => {
          const one = flow(number, ++since);
          store.add(idOf(one), one);
          live.set(idOf(one), since);
        };
        for (let number = 0; number < 3_000; number++) add(number);
        let whileCopying = 0;
        for (const { at, count, end } of changes) {
          for (let some = 0; some < count; some++) {
            const number = (at + some) % 3_000;
            const id = idOf(flow(number));
            // Ended and there again in one turn, too.
            if (end || some % 3 === 0) {
              store.end(id);
              live.delete(id);
            }
            if (!end) add(number);
          }
          await nextTurn();
          if (existsSync(`${file}.new`)) whileCopying++;
          t.equal(sorted(afterCrash(file, folder)), sorted(live));
        }
        t.ok(whileCopying > 0, `${whileCopying} looks while it was written anew`);
        store.close();
        t.notOk(existsSync(`${file}.new`), 'nothing stays beside it');
        t.equal(sorted(afterCrash(file, folder)), sorted(live), 'closed at whatever moment');
      }),
      { numRuns: 6 },
    ),
);

function sorted(flows: ReadonlyMap<string, number>): string {
  return [...flows]
    .map(([id, since]) => `${id} ${since}`)
    .toSorted()
    .join('\n');
}

t.test('flow state: closed in the middle of a copy in place it is finished', async (t) => {
  const folder = t.testdir();
  const file = join(folder, 'flows');
  const store = new FlowStore(file, never);
  // In the way of a second file.
  mkdirSync(`${file}.new`);
  let inPlace = false;
  const live = new Map<string, number>();
  for (let number = 0; number < 20_000 && !inPlace; number++) {
    const one = flow(number);
    store.add(idOf(one), one);
    live.set(idOf(one), 0);
    if (number % 100 !== 0) continue;
    const before = statSync(file).size;
    await nextTurn();
    inPlace = statSync(file).size < before;
  }
  t.ok(inPlace, 'the old file went first');
  t.ok(readFileSync(file, 'utf8').split('\n').length < live.size, 'and is not whole again');
  store.close();
  rmdirSync(`${file}.new`);
  t.equal(sorted(afterCrash(file, folder)), sorted(live));
});
