export interface BackoffLimits {
  /** The wait after a first failure, at most. Milliseconds. */
  readonly firstMs: number;
  readonly mostMs: number;
}

/**
 * How long to wait after so many failures in a row, in milliseconds: doubled with each, at most `mostMs`, half of it by chance, so that those who lost the
 * same API server do not come back at the same moment. Pure.
 * @param failures in a row, from 1
 * @param random from 0 to 1
 * @param askedMs what the server asked for with `Retry-After`: never less than that, up to ten times `mostMs`
 */
export function backoffMs(failures: number, limits: BackoffLimits, random: number, askedMs = 0): number {
  const whole = Math.min(limits.mostMs, limits.firstMs * 2 ** Math.min(Math.max(failures, 1) - 1, 30));
  const own = whole / 2 + (random * whole) / 2;
  // A server that asks for a week is wrong, and whoever believes it stays stale for a week.
  const asked = Math.min(Math.max(askedMs, 0), limits.mostMs * 10);
  return asked === 0 ? own : Math.max(own, asked * (1 + random / 10));
}
