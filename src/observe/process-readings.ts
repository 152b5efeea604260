import { readdirSync, readFileSync } from 'node:fs';

/** What Linux says about this process, read when somebody scrapes. NaN where it says nothing. */
export interface ProcessReadings {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
  readonly openFds: number;
  /** Seconds in which the event loop had something to do. */
  readonly busySeconds: number;
}

/** Takes tens of microseconds; open descriptors are counted one by one. */
export function readProcess(): ProcessReadings {
  const { user, system } = process.cpuUsage();
  return {
    cpuSeconds: (user + system) / 1e6,
    residentBytes: process.memoryUsage.rss(),
    openFds: countOpenFds(),
    busySeconds: performance.eventLoopUtilization().active / 1000,
  };
}

/** The soft limit of open descriptors (proc(5), `/proc/pid/limits`), which does not change while we run. */
export function readMaxFds(): number {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return line === null ? Number.NaN : Number(line[1]);
  } catch {
    return Number.NaN;
  }
}

function countOpenFds(): number {
  try {
    return readdirSync('/proc/self/fd').length - 1; // the one that reads the folder is closed again
  } catch {
    return Number.NaN;
  }
}
