import { readdirSync, readFileSync } from 'node:fs';

/**
 * CPU seconds that processes have used, user and system, all threads. From schedstat (nanoseconds; kernel Documentation/scheduler/sched-stats.rst),
 * since ticks of 10 ms are too coarse for single connections. What the kernel does for them in interrupts is nobody's.
 */
export function cpuSeconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ', 1)[0]);
    }
  }
  return nanoseconds / 1e9;
}
