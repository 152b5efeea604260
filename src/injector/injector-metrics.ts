import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { MetricDescription } from '../observe/metric-list.ts';
import { INJECTOR_METRICS, type InjectorMetricName } from './metric-list.ts';
import type { ReviewOutcome } from './review.ts';

export interface InjectorReadings {
  /** undefined: not counted yet. */
  readonly uninjectedPods: number | undefined;
  /** Seconds since the epoch. */
  readonly certificateExpiry: number | undefined;
  readonly ready: boolean;
}

/** The metrics of one injector, with a registry of their own. */
export class InjectorMetrics {
  readonly #registry = new Registry();
  readonly #reviews: Counter;
  readonly #seconds: Histogram;

  constructor(readings: () => InjectorReadings) {
    const given = (name: InjectorMetricName) => {
      const { help, labels }: MetricDescription = INJECTOR_METRICS[name];
      return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
    };
    this.#reviews = new Counter(given('countersign_injector_reviews_total'));
    for (const outcome of INJECTOR_METRICS.countersign_injector_reviews_total.labels.outcome)
      this.#reviews.inc({ outcome }, 0);
    const { buckets } = INJECTOR_METRICS.countersign_injector_review_seconds;
    this.#seconds = new Histogram({ ...given('countersign_injector_review_seconds'), buckets: [...buckets] });
    const gauge = (name: InjectorMetricName, read: (now: InjectorReadings) => number): void => {
      const made: Gauge = new Gauge({ ...given(name), collect: () => made.set(read(readings())) });
    };
    gauge('countersign_injector_uninjected_pods', (now) => now.uninjectedPods ?? Number.NaN);
    gauge(
      'countersign_injector_certificate_expiry_timestamp_seconds',
      (now) => now.certificateExpiry ?? Number.NaN,
    );
    gauge('countersign_injector_ready', ({ ready }) => Number(ready));
  }

  reviewed(outcome: ReviewOutcome | 'failed', seconds: number): void {
    this.#reviews.inc({ outcome });
    this.#seconds.observe(seconds);
  }

  async text(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }
}
