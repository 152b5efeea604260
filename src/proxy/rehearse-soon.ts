import type { Curves } from '../lib/curves.ts';
import { rehearseHandshakes } from './rehearsal.ts';

/** Long enough for a start to be over, short enough for most first contacts of a pod; before memory settles (settle-memory.ts), which takes back what this uses. */
const AFTER_MS = 500;
/** Fewer leave much cold, more win little: the first one takes several times as long as the eighth. */
const TIMES = 8;

/**
 * Rehearses first contacts when a start is over, once, one handshake in each turn of the event loop: a few milliseconds of CPU each, and whoever calls in
 * between waits for one. Decides nothing: a rehearsal that fails is told of and ends.
 */
export function rehearseSoon(
  curves: Curves,
  onDefect: (error: unknown) => void,
  { afterMs = AFTER_MS, times = TIMES } = {},
  rehearse: () => number = () =>
    rehearseHandshakes(curves, 1, { monotonic: performance.now(), epochSeconds: Date.now() / 1000 }),
): { close(): void } {
  let left = times;
  const turn = (): void => {
    if (left === 0) return;
    left--;
    try {
      if (rehearse() !== 1) throw new Error('a rehearsed handshake was not established');
      setImmediate(turn).unref();
    } catch (error) {
      onDefect(error);
    }
  };
  const timer = setTimeout(turn, afterMs);
  timer.unref();
  return {
    close: () => {
      left = 0;
      clearTimeout(timer);
    },
  };
}
