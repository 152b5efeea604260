/** Full handshakes with one address under way at once, as in redirect mode (`src/proxy/handshake-gate.ts`). */
export const MOST_AT_ONCE = 64;
/** One that takes longer, milliseconds, hangs: it keeps nobody waiting any more. */
export const HANGS_MS = 1_000;

/**
 * Calls under way without a session, by address. A crowd of first calls would spend the time of both sides on handshakes of which one is needed, and
 * its server would give the places of those whose Proof comes late to others.
 */
export class FirstCalls {
  /** When each began, the oldest first. */
  readonly #underWay = new Map<string, Set<{ readonly since: number }>>();

  /** Whether one more may begin. @param now monotonic milliseconds */
  admits(address: string, now: number): boolean {
    const those = this.#underWay.get(address);
    if (those === undefined || those.size < MOST_AT_ONCE) return true;
    for (const one of those) {
      if (now - one.since < HANGS_MS) break;
      those.delete(one);
    }
    return those.size < MOST_AT_ONCE;
  }

  /**
   * One begins.
   * @param now monotonic milliseconds
   * @returns the way to leave; calling it twice does no harm
   */
  enter(address: string, now: number): () => void {
    const those = this.#underWay.get(address) ?? new Set();
    this.#underWay.set(address, those);
    const one = { since: now };
    those.add(one);
    return () => {
      those.delete(one);
      if (those.size === 0 && this.#underWay.get(address) === those) this.#underWay.delete(address);
    };
  }
}
