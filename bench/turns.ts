/**
 * Loaded into a sidecar before anything else (`node --import file:///…/turns.ts?to=FOLDER`), writes into FOLDER which turns of its event loop were long: for each the moment of its end
 * (milliseconds since the epoch) and the CPU time of the main thread in it (milliseconds), which other work on the machine does not lengthen. It is looked at by a timer, so that up to
 * LOOK_MS of the turns before are among it.
 */
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';

const LOOK_MS = 5;
const LONG_MS = 20;

const to = new URL(import.meta.url).searchParams.get('to');
if (to !== null && isMainThread) watch(openSync(join(to, `${process.pid}.turns`), 'a'));

function watch(descriptor: number): void {
  let before = process.threadCpuUsage();
  setInterval(() => {
    const { user, system } = process.threadCpuUsage(before);
    const milliseconds = Math.round((user + system) / 1000);
    if (milliseconds >= LONG_MS) writeSync(descriptor, `${Date.now()} ${milliseconds}\n`);
    before = process.threadCpuUsage();
  }, LOOK_MS).unref();
}

/** CPU milliseconds of the longest turn of a process since some moment; 0: none was long. @param folder as `to` */
export function longestTurn(folder: string, pid: number, since: number): number {
  const name = readdirSync(folder).find((one) => one === `${pid}.turns`);
  if (name === undefined) throw new Error(`nobody watches the turns of process ${pid}`);
  const lines = readFileSync(join(folder, name), 'utf8').split('\n');
  const turns = lines.map((line) => line.split(' ').map(Number)).filter(([at = 0]) => at >= since);
  return Math.max(0, ...turns.map(([, milliseconds = 0]) => milliseconds));
}
