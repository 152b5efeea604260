import type { Logger } from 'pino';
import type { Readiness } from '../observe/readiness.ts';
import type { ProbeArrivals } from '../redirect/probe-arrivals.ts';
import { probeRedirect, type ProbeResult } from '../redirect/probe.ts';

/** While the rules are missing they are looked for this often. */
const IMPATIENT_MS = 500;

/** Tests again and again that the rules are in force, and takes readiness away while they are not. */
export class RedirectWatch {
  results: readonly ProbeResult[] = [];
  readonly #arrivals: ProbeArrivals;
  readonly #readiness: Readiness;
  readonly #log: Logger;
  readonly #intervalMs: number;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #lost = '';

  constructor(arrivals: ProbeArrivals, readiness: Readiness, log: Logger, intervalMs: number) {
    this.#arrivals = arrivals;
    this.#readiness = readiness;
    this.#log = log;
    this.#intervalMs = intervalMs;
  }

  start(families: readonly (4 | 6)[]): void {
    void this.#look(families);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #look(families: readonly (4 | 6)[]): Promise<void> {
    this.results = await probeRedirect(families, this.#arrivals);
    const lost = this.results
      .filter((result) => !result.inForce)
      .map(({ family, direction, detail }) => `IPv${family} ${direction}: ${detail}`)
      .join('; ');
    if (lost !== this.#lost) {
      if (lost === '') this.#log.info('redirection is in force again');
      else this.#log.error(`redirection is not in force: ${lost}; 'countersign redirect apply' sets it`);
    }
    this.#lost = lost;
    this.#readiness.set('redirect', lost === '' ? undefined : lost);
    if (this.#closed) return;
    const pause = lost === '' ? this.#intervalMs : Math.min(IMPATIENT_MS, this.#intervalMs);
    this.#timer = setTimeout(() => void this.#look(families), pause);
    this.#timer.unref();
  }
}
