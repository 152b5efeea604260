import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
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

t.test('memory: what starting has used is given back once, but not while the heap is large', async (t) => {
  let [trims, looks, heap] = [0, 0, 1 << 30];
  const heapBytes = (): number => {
    looks++;
    return heap;
  };
  const settling = settleMemory({ trimMemory: () => trims++ }, { afterStartMs: 1, heapBytes });
  t.teardown(() => settling.close());
  await until('looked at several times', () => looks > 3);
  t.equal(trims, 0, 'many connections are open');
  heap = 20 << 20;
  await until('given back', () => trims > 0);
  const before = looks;
  await sleep(20);
  t.strictSame([trims, looks], [1, before], 'once');
});

/** How many kilobytes of large blocks stay with the process when one larger still was freed before. */
const AFTER_A_LARGE_ONE = `
import { readFileSync } from 'node:fs';
import { loadAddon } from ${JSON.stringify(join(import.meta.dirname, '../../src/native.ts'))};
const heap = () => Number(/\\[heap\\]\\nSize: +(\\d+) kB/.exec(readFileSync('/proc/self/smaps', 'utf8'))[1]);
if (process.argv.includes('bounded')) loadAddon().boundMallocSlack();
let large = new ArrayBuffer(16 << 20);
large = undefined;
gc();
const before = heap();
const blocks = Array.from({ length: 64 }, () => new ArrayBuffer(512 << 10));
console.log(blocks.length > 0 && heap() - before);
`;

t.test('memory: large blocks stay out of the heap, even when a larger one was freed before', async (t) => {
  const grown = async (...words: string[]): Promise<number> => {
    const flags = ['--expose-gc', '--input-type=module', '-e', AFTER_A_LARGE_ONE, '--', ...words];
    return Number((await promisify(execFile)(process.execPath, flags)).stdout);
  };
  t.ok((await grown('bounded')) < 8_192, 'of 32 MB');
  t.ok((await grown('as malloc is')) > 8_192, 'which it would hold otherwise: the test can fail');
});
