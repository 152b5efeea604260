import type { Endpoint } from '../lib/address.ts';
import { isProbe } from './probe.ts';

/**
 * Counts the tests that came out at the outbound listener. Only redirection gives an accepted connection such an original destination,
 * so one that arrived after a test began is proof, whoever else is listening in the pod.
 */
export class ProbeArrivals {
  readonly #counts = { 4: 0, 6: 0 };
  readonly #waiting = new Set<() => void>();

  /** To be asked for every connection that the outbound listener accepts. @returns whether it is a test, to be reset */
  notice(original: Endpoint | undefined): boolean {
    if (original === undefined || !isProbe(original)) return false;
    this.#counts[original.address.includes(':') ? 6 : 4]++;
    for (const look of this.#waiting) look();
    return true;
  }

  count(family: 4 | 6): number {
    return this.#counts[family];
  }

  /** Whether the count is reached within a time. */
  reached(family: 4 | 6, count: number, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#counts[family] >= count) done(true);
      };
      const done = (reached: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(reached);
      };
      const timer = setTimeout(() => done(false), timeoutMs);
      this.#waiting.add(look);
      look();
    });
  }
}
