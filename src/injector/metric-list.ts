import type { MetricDescription } from '../observe/metric-list.ts';

/** Every metric of the injector; `docs/reference.md` is made from it. */
export const INJECTOR_METRICS = {
  countersign_injector_reviews_total: {
    type: 'counter',
    help: 'Pods that the API server asked about, by what was answered',
    labels: { outcome: ['injected', 'skipped', 'refused', 'passed', 'failed'] },
  },
  countersign_injector_review_seconds: {
    type: 'histogram',
    help: 'Time to answer one review',
    labels: {},
    buckets: [0.001, 0.005, 0.025, 0.1, 0.5, 2.5],
  },
  countersign_injector_uninjected_pods: {
    type: 'gauge',
    help: 'Running pods with the label countersign.io/inject=true and without a sidecar',
    labels: {},
  },
  countersign_injector_certificate_expiry_timestamp_seconds: {
    type: 'gauge',
    help: 'When the serving certificate ends; it is renewed long before',
    labels: {},
  },
  countersign_injector_ready: {
    type: 'gauge',
    help: '1 when TLS is served and the webhook configurations believe it',
    labels: {},
  },
} as const satisfies Record<string, MetricDescription>;

export type InjectorMetricName = keyof typeof INJECTOR_METRICS;
