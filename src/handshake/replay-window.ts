/** How far behind the newest counter one may lie and still be told apart from a replay. */
export const REPLAY_WINDOW = 65_536;

const PAGE_COUNTERS = 1024;
const PAGES = REPLAY_WINDOW / PAGE_COUNTERS + 1;

export type CounterState = 'fresh' | 'seen' | 'too-old';

/** The counters seen on one session, wherever they are kept. */
export interface CounterWindow {
  /**
   * Marks a counter as used.
   * @returns `fresh` exactly once per counter; `too-old` when the window no longer knows, which means full handshake, not failure
   */
  use(counter: bigint): CounterState;
}

/**
 * The exact set of the counters seen on one session, as far back as {@link REPLAY_WINDOW}. Grows by pages of 128 bytes as counters
 * arrive, to at most 8 KiB: a session that carries ten connections costs one page.
 */
export class ReplayWindow implements CounterWindow {
  /** Page p holds the counters [p * 1024, (p + 1) * 1024); kept in a ring. */
  readonly #pages: (Uint32Array | undefined)[] = [];
  readonly #pageNumbers: number[] = [];
  #highest = -1;

  use(counter: bigint): CounterState {
    if (counter > BigInt(Number.MAX_SAFE_INTEGER)) return 'too-old';
    const value = Number(counter);
    if (value <= this.#highest - REPLAY_WINDOW) return 'too-old';
    const page = this.#page(Math.floor(value / PAGE_COUNTERS));
    const bit = value % PAGE_COUNTERS;
    const mask = 1 << (bit & 31);
    if ((page[bit >> 5]! & mask) !== 0) return 'seen';
    page[bit >> 5]! |= mask;
    if (value > this.#highest) this.#highest = value;
    return 'fresh';
  }

  #page(number: number): Uint32Array {
    const slot = number % PAGES;
    let page = this.#pages[slot];
    if (page === undefined || this.#pageNumbers[slot] !== number) {
      // The page that stood here lies a whole ring back, so behind the window.
      page = new Uint32Array(PAGE_COUNTERS / 32);
      this.#pages[slot] = page;
      this.#pageNumbers[slot] = number;
    }
    return page;
  }
}
