interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Each label with its values, or where they come from: always a closed set. */
  readonly labels: Readonly<Record<string, string>>;
}

const DIRECTION = 'inbound, outbound';

/** Every metric; `docs/reference.md` is made from it. */
export const METRICS = {
  countersign_connections_total: {
    type: 'counter',
    help: 'Verdicts about connections; a connection that is cut later is counted again, as denied',
    labels: {
      direction: DIRECTION,
      verdict: 'allow, deny, would_deny',
      reason: 'the list above',
      peer: 'proven, unproven, external, node',
      handshake: 'full, resumed, none',
    },
  },
  countersign_relayed_bytes_total: {
    type: 'counter',
    help: 'Application bytes of connections that have ended',
    labels: { direction: 'in (from who called), out (to who called)' },
  },
  countersign_handshake_seconds: {
    type: 'histogram',
    help: 'Time from the accepted connection to the verdict about a proven peer',
    labels: { direction: DIRECTION, handshake: 'full, resumed' },
  },
  countersign_flow_records_dropped_total: {
    type: 'counter',
    help: 'Flow records that were lost because the log could not be written fast enough',
    labels: {},
  },
  countersign_open_connections: {
    type: 'gauge',
    help: 'Connections that are allowed and open',
    labels: { direction: DIRECTION },
  },
  countersign_half_open_connections: {
    type: 'gauge',
    help: 'Inbound connections that have proven nothing yet',
    labels: {},
  },
  countersign_identity_expiry_timestamp_seconds: {
    type: 'gauge',
    help: 'End of the own identity, seconds since the epoch; 0: there is none',
    labels: {},
  },
  countersign_policy_age_seconds: {
    type: 'gauge',
    help: 'Time since the policy in force was taken from its source; NaN: there is none',
    labels: {},
  },
  countersign_policy_version: {
    type: 'gauge',
    help: 'Number of the snapshot in force; grows with every change',
    labels: {},
  },
  countersign_source_problems: {
    type: 'gauge',
    help: 'Things in the source that do not count, or are odd; /readyz and the log name them',
    labels: {},
  },
  countersign_audit_mode: { type: 'gauge', help: '1: denials of policy are recorded only', labels: {} },
  countersign_ready: { type: 'gauge', help: '1: ready, as /readyz says', labels: {} },
  countersign_redirect_in_force: {
    type: 'gauge',
    help: '1: the last live probe was redirected to the proxy',
    labels: { family: 'ipv4, ipv6', direction: DIRECTION },
  },
  countersign_build_info: {
    type: 'gauge',
    help: 'Always 1',
    labels: { version: 'of countersign', node: 'version of Node.js' },
  },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory', labels: {} },
  process_cpu_seconds_total: { type: 'counter', help: 'User and system CPU time', labels: {} },
} as const satisfies Record<string, MetricDescription>;

export type MetricName = keyof typeof METRICS;
