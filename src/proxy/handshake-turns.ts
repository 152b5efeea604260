/** What handshakes may take of one turn of the event loop, milliseconds; and how many are done in any case. */
const TURN_MS = 8;
const FEWEST = 16;

/**
 * Spreads handshakes that callers begin over turns of the event loop. Each costs up to a millisecond, and anybody can begin them, as many at once as he
 * has connections: done as they come, thousands of them would be one turn, in which nobody hears of policy, or asks whether the sidecar is well. Where
 * there are more than a turn has time for, each source address gets its turn: who calls once does not wait for who calls without end.
 */
export class HandshakeTurns {
  /** By source, that of the next turn first, and who came first. None is empty. */
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #now: () => number;
  #began = 0;
  #done = 0;

  /** @param now monotonic milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Asks for a turn.
   * @param go called when it is time, unless that is now
   * @returns undefined: now; else the way to leave; calling it twice does no harm
   */
  enter(source: string, go: () => void): (() => void) | undefined {
    if (this.#done === 0) this.#begin();
    if (this.#waiting.size === 0 && this.#hasTime()) {
      this.#done++;
      return undefined;
    }
    const turn = (): void => go();
    this.#waiting.set(source, (this.#waiting.get(source) ?? new Set()).add(turn));
    return () => this.#leave(source, turn);
  }

  #hasTime(): boolean {
    return this.#done < FEWEST || this.#now() - this.#began < TURN_MS;
  }

  /** What is counted from here on ends with this turn of the event loop. */
  #begin(): void {
    this.#began = this.#now();
    setImmediate(() => void this.#next());
  }

  async #next(): Promise<void> {
    this.#done = 0;
    if (this.#waiting.size === 0) return;
    this.#begin();
    while (this.#waiting.size > 0 && this.#hasTime()) {
      this.#done++;
      this.#give();
      // Until it has done what it waited for.
      await Promise.resolve();
    }
  }

  #give(): void {
    const [source, ofSource] = this.#waiting.entries().next().value!;
    const turn = ofSource.values().next().value!;
    this.#leave(source, turn);
    // The others of this source wait for those of all other sources.
    if (this.#waiting.delete(source)) this.#waiting.set(source, ofSource);
    turn();
  }

  #leave(source: string, turn: () => void): void {
    const ofSource = this.#waiting.get(source);
    ofSource?.delete(turn);
    if (ofSource?.size === 0) this.#waiting.delete(source);
  }
}
