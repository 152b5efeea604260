import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { NativeAddon } from '../native.ts';

/** What is collected at once takes some 3 ms for each MB that lives. Where there is more, many connections are open, and what starting has used is in use again. */
const MOST_HEAP_BYTES = 32 << 20;
/** Long enough for the first policy, identity and probe to have been read, short enough for who looks at a new pod's memory. */
const AFTER_MS = 3_000;
/** A burst: so many connections that stay leave behind what opening them took, above all of V8's compilers. */
const BURST = 500;
const AFTER_BURST_MS = 2_000;

export interface SettlingMemory {
  /** A connection was opened that stays for a while. */
  opened(): void;
  close(): void;
}

/**
 * Gives back what starting has used, once: a sidecar's memory is paid in every pod, and V8 would keep the heap of its start for as long
 * as nothing asks for more. Costs some 20 ms of one core, once, and waits while the heap is so large that it would be much more. After a burst of connections malloc gives back what is free, a millisecond or two.
 */
export function settleMemory(
  addon: Pick<NativeAddon, 'trimMemory'>,
  {
    afterStartMs = AFTER_MS,
    afterBurstMs = AFTER_BURST_MS,
    heapBytes = (): number => getHeapStatistics().used_heap_size,
  } = {},
): SettlingMemory {
  let opened = 0;
  let trimming: NodeJS.Timeout | undefined;
  const timer = setTimeout(() => {
    if (heapBytes() > MOST_HEAP_BYTES) return void timer.refresh();
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: object) => void;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    addon.trimMemory();
  }, afterStartMs);
  timer.unref();
  return {
    opened: () => {
      opened++;
      if (opened < BURST || trimming !== undefined) return;
      trimming = setTimeout(() => {
        opened = 0;
        trimming = undefined;
        addon.trimMemory();
      }, afterBurstMs);
      trimming.unref();
    },
    close: () => {
      clearTimeout(timer);
      clearTimeout(trimming);
    },
  };
}
