import { LRUCache } from 'lru-cache';

/** For how long an address is called by the stream carrier after a SYN with data got no answer from it. Milliseconds. */
export const FALLBACK_MS = 60_000;
const MAX_ADDRESSES = 4_096;

/** Addresses to which no SYN with data goes for a while. Bounded, and forgotten by time: networks change. */
export class FallbackMemory {
  readonly #until = new LRUCache<string, number>({ max: MAX_ADDRESSES });

  has(address: string, now: number): boolean {
    const until = this.#until.get(address);
    return until !== undefined && until > now;
  }

  /** @returns whether this is news */
  add(address: string, now: number): boolean {
    const known = this.has(address, now);
    this.#until.set(address, now + FALLBACK_MS);
    return !known;
  }
}
