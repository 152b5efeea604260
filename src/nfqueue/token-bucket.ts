/** A rate with a burst: what costs something is done this often and no more. Times in milliseconds. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #left: number;
  #at = 0;

  constructor(rate: { perSecond: number; burst: number }) {
    this.#perMs = rate.perSecond / 1_000;
    this.#burst = rate.burst;
    this.#left = rate.burst;
  }

  /** Takes one; false when there is none. */
  take(now: number): boolean {
    if (!this.has(now)) return false;
    this.#left--;
    return true;
  }

  /** Whether there is one. */
  has(now: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = Math.max(this.#at, now);
    return this.#left >= 1;
  }

  /** How much there is; below zero when something is owed. */
  left(now: number): number {
    this.has(now);
    return this.#left;
  }

  /** Takes what something has cost that was known only afterwards; what is missing then has to come first. */
  spend(amount: number): void {
    this.#left -= amount;
  }
}
