/** What two worlds have come to that differ in one thing: nothing, or what is not the same. */
export interface Comparison {
  readonly difference?: string;
  readonly tookMs: number;
}

/** Deadlines of handshakes count from real moments: where so much time passed besides (ms), it may have passed for one of the two alone. */
const STALL_MS = 150;
const MOST_AGAIN = 10;

/**
 * With passes and without them it comes to the same, whatever happens. On a machine that stalled, a difference has to come again and again.
 *
 * @throws Error that says how they differ
 */
export async function demandTheSame(compare: () => Promise<Comparison>): Promise<void> {
  for (let again = 0; ; again++) {
    const { difference, tookMs } = await compare();
    if (difference === undefined) return;
    if (tookMs < STALL_MS || again === MOST_AGAIN) throw new Error(difference);
  }
}
