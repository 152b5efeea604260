import type { Metric } from 'prom-client';

interface Series {
  /** As they were observed. */
  readonly first: string;
  readonly second: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Per bucket, and one for what is longer than the last bound: not yet added up. */
  readonly counts: Float64Array;
  sum: number;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * A Prometheus histogram of seconds by one label or two. Every connection is observed, a scrape comes twice a minute: observing makes no object and
 * no text, as the registry's own histogram does.
 */
export class DurationHistogram {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #bounds: readonly number[];
  readonly #labelsOf: (first: string, second: string | undefined) => Readonly<Record<string, string>>;
  readonly #series: Series[] = [];

  /**
   * @param buckets upper bounds in seconds, ascending
   * @param labelsOf the labels of a series, of closed sets; asked once for each
   */
  constructor(
    { name, help, buckets }: { name: string; help: string; buckets: readonly number[] },
    labelsOf: (first: string, second: string | undefined) => Readonly<Record<string, string>>,
  ) {
    this.name = name;
    this.help = help;
    this.#bounds = buckets;
    this.#labelsOf = labelsOf;
  }

  observe(seconds: number, first: string, second?: string): void {
    const series = this.#find(first, second);
    let bucket = 0;
    while (bucket < this.#bounds.length && seconds > this.#bounds[bucket]!) bucket++;
    series.counts[bucket]!++;
    series.sum += seconds;
  }

  /** What the registry asks for at a scrape. */
  get(): Promise<Omit<DurationHistogram, 'get' | 'observe' | 'metric'> & { values: Sample[] }> {
    const { name, help, type, aggregator } = this;
    return Promise.resolve({
      name,
      help,
      type,
      aggregator,
      values: this.#series.flatMap((one) => this.#samples(one)),
    });
  }

  /** As the registry wants it, which takes whatever has a name and gives samples. */
  get metric(): Metric {
    return this as unknown as Metric;
  }

  #find(first: string, second: string | undefined): Series {
    for (const one of this.#series) if (one.first === first && one.second === second) return one;
    const labels = this.#labelsOf(first, second);
    const same = this.#series.find((one) =>
      Object.keys(labels).every((key) => one.labels[key] === labels[key]),
    );
    if (same !== undefined) return same;
    const counts = new Float64Array(this.#bounds.length + 1);
    const added = { first, second, labels, counts, sum: 0 };
    this.#series.push(added);
    return added;
  }

  #samples({ labels, counts, sum }: Series): Sample[] {
    const metricName = `${this.name}_bucket`;
    let count = 0;
    const buckets = [...this.#bounds.map(String), '+Inf'].map((le, at) => {
      count += counts[at]!;
      return { metricName, labels: { le, ...labels }, value: count };
    });
    return [
      ...buckets,
      { metricName: `${this.name}_sum`, labels, value: sum },
      { metricName: `${this.name}_count`, labels, value: count },
    ];
  }
}
