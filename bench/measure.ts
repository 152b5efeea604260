import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LoadOrder, runLoad } from './load-program.ts';
import type { Place } from './place.ts';
import { cpuSeconds } from './process-cpu.ts';
import { prove } from './prove.ts';
import { busySeconds, foreignCpus } from './quiet.ts';
import { type LoadKind, QUIET_CPUS, type Sample } from './result.ts';
import type { Sidecars } from './sidecars.ts';
import type { Variant } from './variant.ts';

/** Time for what a scrape or a load leaves behind to be done with. */
const SETTLE_MS = 15;

/** Takes samples; holds what they need. */
export class Meter {
  readonly #place: Place;
  readonly #sidecars: Sidecars;
  /** Time that may still be spent on waiting for neighbours. */
  #patienceMs: number;

  constructor(place: Place, sidecars: Sidecars, patienceMs: number) {
    this.#place = place;
    this.#sidecars = sidecars;
    this.#patienceMs = patienceMs;
  }

  /**
   * Runs a load over a variant. Throws when a connection fails, and when the sidecars at either end have not counted exactly its connections as
   * proven: then nothing that was measured means anything.
   */
  async sample(variant: Variant, kind: LoadKind, round: number, order: LoadOrder): Promise<Sample> {
    const ends = [variant.client, ...variant.servers];
    const before = variant.proves ? await this.#sidecars.counts(ends) : undefined;
    await this.#quiet();
    await sleep(SETTLE_MS);
    const start = this.#readings(variant);
    const report = await runLoad(
      this.#place.cluster.network,
      variant.client,
      this.#place.load,
      variant.target,
      order,
    );
    await sleep(SETTLE_MS);
    const end = this.#readings(variant);
    if (before !== undefined) {
      const everyOneFirst = kind === 'first' || variant.forgetful === true;
      const handshake = everyOneFirst ? ({ handshake: 'full' } as const) : {};
      await prove(this.#sidecars, ends, before, { connections: report.connections, ...handshake });
    }
    const proxyCpu = end.proxies - start.proxies;
    const allCpu = proxyCpu + end.application - start.application + report.cpu;
    const own = allCpu + end.self - start.self;
    const { connections, bytes, seconds, p50, p99 } = report;
    const foreign = foreignCpus(end.busy - start.busy, own, end.at - start.at);
    return {
      variant: variant.id,
      kind,
      round,
      connections,
      bytes,
      seconds,
      p50,
      p99,
      proxyCpu,
      allCpu,
      foreignCpus: foreign,
    };
  }

  #readings(variant: Variant): {
    at: number;
    busy: number;
    self: number;
    proxies: number;
    application: number;
  } {
    const self = process.cpuUsage();
    return {
      at: performance.now() / 1000,
      busy: busySeconds(readFileSync('/proc/stat', 'utf8')),
      self: (self.user + self.system) / 1e6,
      proxies: cpuSeconds(variant.proxies),
      application: cpuSeconds(variant.application),
    };
  }

  /** Waits for a moment without neighbours, as long as there is patience left in this run. */
  async #quiet(): Promise<void> {
    while (this.#patienceMs > 0) {
      const begin = performance.now();
      const busy = busySeconds(readFileSync('/proc/stat', 'utf8'));
      await sleep(100);
      const used = busySeconds(readFileSync('/proc/stat', 'utf8')) - busy;
      const milliseconds = performance.now() - begin;
      this.#patienceMs -= milliseconds;
      if (used / (milliseconds / 1000) < QUIET_CPUS) return;
    }
  }
}
