/**
 * Thins out lines that repeat: of each kind so many per interval, the rest is counted. Kinds are a closed set, so that its
 * memory is bounded. Pure but for what it remembers; `now` is monotonic milliseconds.
 */
export class LogLimit<Kind extends string> {
  readonly #perInterval: number;
  readonly #intervalMs: number;
  readonly #kinds = new Map<Kind, { since: number; written: number; suppressed: number }>();

  constructor(perInterval: number, intervalMs: number) {
    this.#perInterval = perInterval;
    this.#intervalMs = intervalMs;
  }

  /** @returns undefined: do not write this one; else how many were left out since the last one that was written */
  admit(kind: Kind, now: number): number | undefined {
    let state = this.#kinds.get(kind);
    if (state === undefined) {
      state = { since: now, written: 0, suppressed: 0 };
      this.#kinds.set(kind, state);
    }
    if (now - state.since >= this.#intervalMs) {
      state.since = now;
      state.written = 0;
    }
    if (state.written >= this.#perInterval) {
      state.suppressed++;
      return undefined;
    }
    const { suppressed } = state;
    state.written++;
    state.suppressed = 0;
    return suppressed;
  }
}
