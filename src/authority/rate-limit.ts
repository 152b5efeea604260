import { LRUCache } from 'lru-cache';

/**
 * A bucket of permits per name, refilled steadily (token bucket). Names beyond the most recent ones start with a full bucket again, so that memory is
 * bounded; who could use that has to own as many names.
 */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #buckets: LRUCache<string, { left: number; at: number }>;

  constructor(limits: { readonly burst: number; readonly perSecond: number; readonly names: number }) {
    this.#burst = limits.burst;
    this.#perSecond = limits.perSecond;
    this.#buckets = new LRUCache({ max: limits.names });
  }

  /** @param now seconds of any clock that does not go back */
  take(name: string, now: number, count = 1): boolean {
    const bucket = this.#buckets.get(name) ?? { left: this.#burst, at: now };
    const left = Math.min(this.#burst, bucket.left + Math.max(0, now - bucket.at) * this.#perSecond);
    const granted = left >= count;
    this.#buckets.set(name, { left: granted ? left - count : left, at: now });
    return granted;
  }
}
