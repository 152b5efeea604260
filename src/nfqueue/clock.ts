import type { Clock } from '../handshake/outcome.ts';

/** Time as machines get it. */
export function clock(): Clock {
  return { monotonic: performance.now(), epochSeconds: Date.now() / 1000 };
}
