/** When changes were made and when each sidecar that they concern knew of them. Pure apart from its own contents. */
export class Tracker {
  /** By object and sidecar: the serials that it has not seen, oldest first. */
  readonly #waiting = new Map<string, { serial: number; at: number }[]>();
  #latencies: number[] = [];
  #missing = 0;

  /** @param at milliseconds, when the request was sent */
  changed(object: string, serial: number, receivers: readonly string[], at: number): void {
    for (const receiver of receivers) {
      const key = `${object} ${receiver}`;
      const list = this.#waiting.get(key) ?? [];
      list.push({ serial, at });
      this.#waiting.set(key, list);
      this.#missing++;
    }
  }

  /** Who sees a later state has what came before it. */
  seen(object: string, serial: number, receiver: string, at: number): void {
    const key = `${object} ${receiver}`;
    const list = this.#waiting.get(key) ?? [];
    for (const change of list) if (change.serial <= serial) this.#latencies.push(at - change.at);
    const left = list.filter((change) => change.serial > serial);
    this.#missing -= list.length - left.length;
    if (left.length > 0) this.#waiting.set(key, left);
    else this.#waiting.delete(key);
  }

  /** How many have not been seen yet. */
  get missing(): number {
    return this.#missing;
  }

  /** Milliseconds, since the last call. */
  take(): number[] {
    const taken = this.#latencies;
    this.#latencies = [];
    return taken;
  }
}

export interface Latency {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The nearest-rank percentiles; undefined without values. */
export function latencyOf(values: readonly number[]): Latency | undefined {
  if (values.length === 0) return undefined;
  const sorted = values.toSorted((one, other) => one - other);
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1)! };
}
