import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { NativeAddon } from '../native.ts';

/** Long enough for the first policy, identity and probe to have been read, short enough for who looks at a new pod's memory. */
const AFTER_MS = 3_000;

/**
 * Gives back what starting has used, once: a sidecar's memory is paid in every pod, and V8 would keep the heap of its start for as long
 * as nothing asks for more. Costs some 20 ms of one core, once, and nothing after.
 */
export function settleMemory(addon: Pick<NativeAddon, 'trimMemory'>): { close(): void } {
  const timer = setTimeout(() => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as (options: object) => void;
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    addon.trimMemory();
  }, AFTER_MS);
  timer.unref();
  return { close: () => clearTimeout(timer) };
}
