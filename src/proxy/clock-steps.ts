/** A difference between the clocks that no slewing makes within seconds, milliseconds. */
const STEP_MS = 2_000;

/**
 * Notices that the machine's clock was set, or that the machine slept: sessions end by the clock that only counts, identities by the one that tells the time,
 * and what was reckoned from one to the other does not hold any more.
 */
export class ClockSteps {
  #before: number | undefined;

  /**
   * @param wallMs milliseconds since the epoch
   * @param monotonicMs of a clock that nobody sets
   * @returns whether there was a step since the last look
   */
  look(wallMs: number, monotonicMs: number): boolean {
    const ahead = wallMs - monotonicMs;
    const before = this.#before ?? ahead;
    this.#before = ahead;
    return Math.abs(ahead - before) > STEP_MS;
  }
}
