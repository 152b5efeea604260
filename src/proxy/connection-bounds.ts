import { getHeapStatistics } from 'node:v8';
import { readMaxFds } from '../observe/process-readings.ts';
import type { ConnectionBounds } from '../relay/connection-limit.ts';
import type { HalfOpenBounds } from './half-open.ts';

/** What bounds a process, bytes; undefined where nothing does. */
export interface ProcessBounds {
  /** Of its cgroup (memory.max, or memory.limit_in_bytes of version 1). */
  readonly memory: number | undefined;
  /** Of V8's heap: `--max-old-space-size`, or what V8 takes by itself. */
  readonly heap: number;
  /** Open descriptors. */
  readonly descriptors: number | undefined;
}

const MIB = 1 << 20;
/** What a sidecar takes before it has connections, and room for what it does meanwhile: in all, and in the heap. */
const BASE = { memory: 64 * MIB, heap: 28 * MIB } as const;
/**
 * What one open connection takes, generously: `node bench/many-flows.ts` says 3 KB in NFQUEUE mode, and the file of flows is in the same cgroup; in redirect mode most of it are
 * the kernel's two sockets, which are charged to the cgroup, too.
 */
const EACH = {
  nfqueue: { memory: 3_584, heap: 2_560 },
  redirect: { memory: 8_192, heap: 1_280 },
} as const;
/** However little memory there is, and where nothing else is known. */
const FEWEST = 1_024;
const MOST = 262_144;
/** A quarter is left for everybody else. */
const SHARE_OF_SOURCE = 0.75;
/** Each connection that is accepted has two. A quarter of all is for pipes and whatever else the sidecar opens, or so many as are enough for it. */
const OTHER_DESCRIPTORS = { share: 0.25, most: 1_000 } as const;

/** How many connections a process with such bounds can hold. */
export function defaultMostConnections(
  mode: 'redirect' | 'nfqueue',
  { memory, heap }: ProcessBounds,
): number {
  const each = EACH[mode];
  const byMemory = memory === undefined ? MOST : (memory - BASE.memory) / each.memory;
  const byHeap = (heap - BASE.heap) / each.heap;
  return Math.max(FEWEST, Math.floor(Math.min(byMemory, byHeap, MOST)));
}

/** @param most of `--max-connections`; undefined: as many as this process can hold */
export function connectionBounds(
  most: number | undefined,
  mode: 'redirect' | 'nfqueue',
  process: ProcessBounds,
): ConnectionBounds {
  const all = most ?? defaultMostConnections(mode, process);
  // In NFQUEUE mode some are the listeners' all the same, and those take more.
  const fitting = most ?? defaultMostConnections('redirect', process);
  return {
    most: all,
    mostOfSource: Math.max(1, Math.floor(all * SHARE_OF_SOURCE)),
    mostAccepted: Math.max(1, Math.floor(Math.min(all, fitting, accepted(process.descriptors)))),
  };
}

/** Places for strangers, who have proven nothing yet: half of all connections are kept for who proves itself. */
const STRANGERS = { share: 0.5, most: 4_096, mostOfSource: 256 } as const;

/** How many of the connections that listeners may hold may be strangers'. */
export function halfOpenBounds({ mostAccepted }: Pick<ConnectionBounds, 'mostAccepted'>): HalfOpenBounds {
  const total = Math.max(1, Math.min(STRANGERS.most, Math.floor(mostAccepted * STRANGERS.share)));
  return { total, perSource: Math.min(STRANGERS.mostOfSource, total) };
}

function accepted(descriptors = Infinity): number {
  const { share, most } = OTHER_DESCRIPTORS;
  return (descriptors - Math.min(descriptors * share, most)) / 2;
}

/** What bounds this process. */
export function readProcessBounds(): ProcessBounds {
  // More than there could be stands for none, in version 1 of cgroups; 0 where nothing is said.
  const memory = process.constrainedMemory();
  const descriptors = readMaxFds();
  return {
    memory: memory > 0 && memory < Number.MAX_SAFE_INTEGER ? memory : undefined,
    heap: getHeapStatistics().heap_size_limit,
    descriptors: Number.isNaN(descriptors) ? undefined : descriptors,
  };
}
