import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the threads of a process have used so far: microseconds on a CPU, by what they are for. */
export interface ThreadUse {
  /** Moves bytes and packets (`native/`). */
  readonly data: number;
  /** Runs the TypeScript. */
  readonly main: number;
  /** Compiles and collects for it. */
  readonly rest: number;
}

/** kernel Documentation/scheduler/sched-stats.rst; proc(5). A process of one thread has `data` alone. */
export function threadUse(pid: number): ThreadUse {
  const use = { data: 0, main: 0, rest: 0 };
  const threads = readdirSync(`/proc/${pid}/task`);
  for (const thread of threads) {
    const folder = `/proc/${pid}/task/${thread}`;
    const micros = Number(readFileSync(join(folder, 'schedstat'), 'utf8').split(' ', 1)[0]) / 1000;
    const name = readFileSync(join(folder, 'comm'), 'utf8').trim();
    if (threads.length === 1 || DATA_THREADS.has(name)) use.data += micros;
    else if (thread === String(pid)) use.main += micros;
    else use.rest += micros;
  }
  return use;
}

const DATA_THREADS = new Set(['data-path', 'queues']);
