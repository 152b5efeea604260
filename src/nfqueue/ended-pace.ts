/** Of all time so much may go into asking: about many connections it is asked more seldom. */
const SHARE = 0.05;
/** Flows that came since it was read, by which it is read again all the same: so many, and half of those that were left. */
const NEW_FLOWS = 4_096;
const NEW_SHARE = 0.5;

/**
 * When the kernel is asked again which connections have ended. Asking takes its time; but connections that nobody
 * has seen end stay in memory. So growth counts, too: what reading costs stays in a proportion to the connections that have come.
 */
export class EndedPace {
  #notBefore = 0;
  #left = 0;

  /**
   * @param now monotonic milliseconds
   * @param flows in the table now
   */
  isDue(now: number, flows: number): boolean {
    return now >= this.#notBefore || flows - this.#left >= Math.max(NEW_FLOWS, this.#left * NEW_SHARE);
  }

  /** It was read, between two moments. @param left flows that have not ended */
  read(begun: number, ended: number, left: number): void {
    this.#notBefore = begun + (ended - begun) / SHARE;
    this.#left = left;
  }
}
