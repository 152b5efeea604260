import type { MetricDescription } from '../observe/metric-list.ts';

export type { MetricDescription };

/** Every metric of an authority. `code` has the values of docs/authority-api.md; nothing that a client sends becomes a label. */
export const AUTHORITY_METRICS = {
  countersign_authority_answers_total: {
    type: 'counter',
    help: 'Answers to requests, and ends of streams, by their code',
    labels: { path: ['identity', 'stream', 'jwks', 'other'], code: 'as in docs/authority-api.md' },
  },
  countersign_authority_second_keys_total: {
    type: 'counter',
    help: 'Requests with another key than the pod had; unexplained: alert, somebody else has its token',
    labels: { cause: ['restart', 'unexplained'] },
  },
  countersign_authority_streams: { type: 'gauge', help: 'Sidecars that are connected', labels: {} },
  countersign_authority_connections: { type: 'gauge', help: 'Open connections', labels: {} },
  countersign_authority_pods: { type: 'gauge', help: 'Pods that are known', labels: {} },
  countersign_authority_ready: { type: 'gauge', help: '1: ready, as /readyz says', labels: {} },
  countersign_authority_view_age_seconds: {
    type: 'gauge',
    help: 'Time since the view of the cluster was last known to be the newest; NaN: there is none',
    labels: {},
  },
  countersign_authority_federation_keys: {
    type: 'gauge',
    help: 'Issuer keys of another trust domain that were told last, see docs/federation.md',
    labels: { trust_domain: 'as the settings of this authority have it' },
  },
  countersign_authority_federation_age_seconds: {
    type: 'gauge',
    help: 'Time since they were told; NaN: never',
    labels: { trust_domain: 'as the settings of this authority have it' },
  },
  countersign_authority_federation_problem: {
    type: 'gauge',
    help: '1: the keys cannot be had at the moment; the log says why',
    labels: { trust_domain: 'as the settings of this authority have it' },
  },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory', labels: {} },
  process_cpu_seconds_total: { type: 'counter', help: 'User and system CPU time', labels: {} },
} as const satisfies Record<string, MetricDescription>;

export type AuthorityMetricName = keyof typeof AUTHORITY_METRICS;
