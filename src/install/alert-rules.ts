interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly severity: 'critical' | 'warning' | 'info';
  readonly summary: string;
}

const ALERTS: readonly Alert[] = [
  {
    alert: 'CountersignRedirectLost',
    expr: 'min by (namespace, pod) (countersign_redirect_in_force) == 0',
    for: '1m',
    severity: 'critical',
    summary: 'connections of {{ $labels.namespace }}/{{ $labels.pod }} do not pass its sidecar any more',
  },
  {
    alert: 'CountersignNotReady',
    expr: 'countersign_ready == 0',
    for: '5m',
    severity: 'warning',
    summary: 'the sidecar of {{ $labels.namespace }}/{{ $labels.pod }} is not ready',
  },
  {
    alert: 'CountersignIdentityEndsSoon',
    expr: 'countersign_identity_expiry_timestamp_seconds - time() < 1800',
    for: '5m',
    severity: 'critical',
    summary: 'nobody renews the identity of {{ $labels.namespace }}/{{ $labels.pod }}',
  },
  {
    alert: 'CountersignProofRefused',
    expr: 'sum by (namespace, pod, reason) (increase(countersign_connections_total{reason=~"proof-invalid|replay|wrong-destination|wrong-peer|own-identity|token-.+|foreign-domain"}[10m])) > 0',
    severity: 'warning',
    summary:
      'somebody shows {{ $labels.namespace }}/{{ $labels.pod }} an identity that does not hold: {{ $labels.reason }}',
  },
  {
    alert: 'CountersignSecondKey',
    expr: 'increase(countersign_authority_second_keys_total{cause="unexplained"}[10m]) > 0',
    severity: 'critical',
    summary: 'two keys were shown for one pod: its token may be in the wrong hands',
  },
  {
    alert: 'CountersignAuthorityAway',
    expr: 'absent(countersign_authority_ready == 1)',
    for: '10m',
    severity: 'critical',
    summary: 'no authority is ready: identities end at the latest four hours after',
  },
  {
    alert: 'CountersignInjectorAway',
    expr: 'absent(countersign_injector_ready == 1)',
    for: '5m',
    severity: 'critical',
    summary: 'no injector is ready: pods that ask for a sidecar cannot be made',
  },
  {
    alert: 'CountersignPodsWithoutSidecar',
    expr: 'max(countersign_injector_uninjected_pods) > 0',
    for: '15m',
    severity: 'warning',
    summary: 'pods ask for a sidecar and have none: recreate them',
  },
  {
    alert: 'CountersignCrowded',
    expr: 'increase(countersign_connections_total{reason="overloaded"}[5m]) > 0',
    severity: 'warning',
    summary: 'too many unfinished handshakes at {{ $labels.namespace }}/{{ $labels.pod }}',
  },
  {
    alert: 'CountersignConnectionLimit',
    expr: 'sum by (namespace, pod, limit) (increase(countersign_connections_beyond_limit_total[5m])) > 0',
    severity: 'warning',
    summary:
      '{{ $labels.namespace }}/{{ $labels.pod }} has as many open connections as its sidecar may hold, and refuses new ones',
  },
  {
    alert: 'CountersignPolicyCut',
    expr: 'sum by (namespace) (increase(countersign_connections_total{verdict="deny", reason="policy-changed"}[5m])) > 10',
    severity: 'info',
    summary: 'a change of policy or labels has cut open connections in {{ $labels.namespace }}',
  },
  {
    alert: 'CountersignSourceProblem',
    expr: 'countersign_source_problems > 0',
    for: '5m',
    severity: 'warning',
    summary:
      'an object or file does not count at {{ $labels.namespace }}/{{ $labels.pod }}: its log names it',
  },
  {
    alert: 'CountersignFlowRecordsLost',
    expr: 'increase(countersign_flow_records_dropped_total[5m]) > 0',
    severity: 'warning',
    summary: 'flow records of {{ $labels.namespace }}/{{ $labels.pod }} are lost: its disk is full or slow',
  },
  {
    alert: 'CountersignBusy',
    expr: 'rate(nodejs_eventloop_busy_seconds_total[5m]) > 0.8',
    for: '10m',
    severity: 'warning',
    summary:
      'one CPU judges all new connections, and that of {{ $labels.namespace }}/{{ $labels.pod }} is full',
  },
  {
    alert: 'CountersignDescriptors',
    expr: 'process_open_fds{container=~"countersign-.+"} / process_max_fds > 0.8',
    severity: 'warning',
    summary: '{{ $labels.namespace }}/{{ $labels.pod }} has hardly any file descriptors left',
  },
];

/**
 * Alerting rules as Prometheus reads them: the one list of them. `docs/runbook.md` has a section for each.
 * @param runbookUrl where that page can be read; without it the annotation `runbook` names the place in the repository, since `runbook_url` has to be an address that a browser opens
 */
export function alertRules(runbookUrl?: string): object[] {
  return ALERTS.map(({ alert, expr, for: pending, severity, summary }) => ({
    alert,
    expr,
    ...(pending === undefined ? {} : { for: pending }),
    labels: { severity },
    annotations: {
      summary,
      ...(runbookUrl === undefined
        ? { runbook: `docs/runbook.md#${alert.toLowerCase()}` }
        : { runbook_url: `${runbookUrl}#${alert.toLowerCase()}` }),
    },
  }));
}

/** The names of all alerts. */
export const ALERT_NAMES: readonly string[] = ALERTS.map(({ alert }) => alert);
