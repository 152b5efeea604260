import type { Curves } from '../lib/curves.ts';
import { Rehearsal } from './rehearsal.ts';

/** Long enough for a start to be over, short enough for most first contacts of a pod; before memory settles (settle-memory.ts), which takes back what this uses. */
const AFTER_MS = 500;
/** Fewer leave much cold, more win little: the first one takes several times as long as the eighth. */
const TIMES = 8;

/** What plays: one first contact at each call. */
export type Stage = Pick<Rehearsal, 'play' | 'close'>;

/**
 * Rehearses first contacts when a start is over, once, in many turns of the event loop: a few milliseconds of CPU each at most, and whoever calls in
 * between waits for one. Decides nothing: a rehearsal that fails is told of and ends.
 */
export function rehearseSoon(
  curves: Curves,
  onDefect: (error: unknown) => void,
  { afterMs = AFTER_MS, times = TIMES } = {},
  open: () => Stage = () => new Rehearsal(curves),
): { close(): void } {
  let left = times;
  const rehearse = async (): Promise<void> => {
    const stage = open();
    try {
      for (; left > 0; left--)
        if (!(await stage.play())) throw new Error('a rehearsed first contact was not established');
    } finally {
      await stage.close();
    }
  };
  const timer = setTimeout(() => void rehearse().catch(onDefect), afterMs);
  timer.unref();
  return {
    close: () => {
      left = 0;
      clearTimeout(timer);
    },
  };
}
