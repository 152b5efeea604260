import { ALL_REASONS } from './reasons.ts';

export interface MetricDescription {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Each label with all the values that it can have; a text instead says what single value it has for the life of the process. */
  readonly labels: Readonly<Record<string, readonly string[] | string>>;
  /** Of a histogram: upper bounds. */
  readonly buckets?: readonly number[];
}

const DIRECTIONS = ['inbound', 'outbound'] as const;

/**
 * `taken`: the Hello came with the SYN. `no-cookie`: first contact, or Fast Open is off at the server. `refused`: the server did not take data in the
 * SYN. `lost`: the connection came with a SYN sent again, without Fast Open. The others: kept back towards a path that eats it.
 */
export const FAST_OPEN_OUTCOMES = [
  'taken',
  'no-cookie',
  'refused',
  'lost',
  'data-withheld',
  'mark-withheld',
] as const;
export type FastOpenOutcome = (typeof FAST_OPEN_OUTCOMES)[number];

/** Stands for a value that is not of its label's set. Seeing it means a defect, not an attack: the types forbid it. */
export const UNKNOWN_LABEL = 'unknown';

/** Every metric; `docs/reference.md` is made from it. Names of the process metrics are Prometheus' own. */
export const METRICS = {
  countersign_connections_total: {
    type: 'counter',
    help: 'Verdicts about connections; a connection that is cut later is counted again, as denied',
    labels: {
      direction: DIRECTIONS,
      verdict: ['allow', 'deny', 'would_deny'],
      reason: ALL_REASONS,
      peer: ['proven', 'federated', 'unproven', 'external', 'node'],
      handshake: ['full', 'resumed', 'none'],
    },
  },
  countersign_relayed_bytes_total: {
    type: 'counter',
    help: 'Application bytes of connections that have ended; in: from who called, out: to who called',
    labels: { direction: ['in', 'out'] },
  },
  countersign_handshake_seconds: {
    type: 'histogram',
    help: 'Time from the accepted connection to the first verdict about a proven peer',
    labels: { direction: DIRECTIONS, handshake: ['full', 'resumed'] },
    buckets: [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
  },
  countersign_decision_seconds: {
    type: 'histogram',
    help: 'Time of one evaluation of policy, at the first verdict and whenever a connection is judged again',
    labels: { direction: DIRECTIONS },
    buckets: [0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.001, 0.01],
  },
  countersign_fast_open_dials_total: {
    type: 'counter',
    help: 'Connections dialled to enrolled pods, by what became of Fast Open; taken: no round trip was added',
    labels: { outcome: FAST_OPEN_OUTCOMES },
  },
  countersign_flow_records_dropped_total: {
    type: 'counter',
    help: 'Flow records that were lost because the flow log could not be written, or not fast enough',
    labels: {},
  },
  countersign_carrier_fallbacks_total: {
    type: 'counter',
    help: 'Addresses that the stream carrier was chosen for because a SYN with a Hello got no answer or one without a Reply, or has no room for it (nfqueue mode)',
    labels: {},
  },
  countersign_queue_lost_packets_total: {
    type: 'counter',
    help: 'Packets that the kernel dropped because they could not be handed over in time (nfqueue mode)',
    labels: {},
  },
  countersign_queue_strangers_dropped_total: {
    type: 'counter',
    help: 'Packets of unknown connections that were dropped before they were looked at, beyond what is heard of strangers (nfqueue mode)',
    labels: {},
  },
  countersign_pipes_refused_total: {
    type: 'counter',
    help: 'How often the system gave no pipe for a bulk transfer, or one too small to be of use; it is copied instead, at more CPU (redirect mode)',
    labels: {},
  },
  countersign_open_connections: {
    type: 'gauge',
    help: 'Connections that are allowed and open',
    labels: { direction: DIRECTIONS },
  },
  countersign_connection_limit: {
    type: 'gauge',
    help: 'How many connections may be open at once, from --max-connections or by the memory limit; three quarters of them from one source',
    labels: {},
  },
  countersign_connections_beyond_limit_total: {
    type: 'counter',
    help: 'Connections that were refused, or SYNs dropped (nfqueue mode), since there were as many as there may be: in all, or from their source',
    labels: { direction: DIRECTIONS, limit: ['all', 'source'] },
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
  countersign_source_age_seconds: {
    type: 'gauge',
    help: 'Time since the source last knew that its state is the newest; NaN: it never did, or cannot tell (files)',
    labels: {},
  },
  countersign_policy_version: {
    type: 'gauge',
    help: 'Number of the snapshot in force; grows with every change',
    labels: {},
  },
  countersign_source_problems: {
    type: 'gauge',
    help: 'Things in the source that do not count, or are odd; the log and the admin socket name them',
    labels: {},
  },
  countersign_audit_mode: { type: 'gauge', help: '1: denials of policy are recorded only', labels: {} },
  countersign_ready: { type: 'gauge', help: '1: ready, as /readyz says', labels: {} },
  countersign_redirect_in_force: {
    type: 'gauge',
    help: '1: the last live probe found the redirection in force',
    labels: { family: ['ipv4', 'ipv6'], direction: DIRECTIONS },
  },
  countersign_build_info: {
    type: 'gauge',
    help: 'Always 1',
    labels: { version: 'of countersign', node: 'version of Node.js' },
  },
  process_cpu_seconds_total: { type: 'counter', help: 'User and system CPU time', labels: {} },
  process_resident_memory_bytes: { type: 'gauge', help: 'Resident memory', labels: {} },
  process_start_time_seconds: {
    type: 'gauge',
    help: 'Start of the process, seconds since the epoch',
    labels: {},
  },
  process_open_fds: { type: 'gauge', help: 'Open file descriptors', labels: {} },
  process_max_fds: {
    type: 'gauge',
    help: 'Most file descriptors that may be open; NaN: no limit',
    labels: {},
  },
  nodejs_eventloop_busy_seconds_total: {
    type: 'counter',
    help: 'Time in which the thread that judges connections had work; near 1 per second it is the bottleneck',
    labels: {},
  },
} as const satisfies Record<string, MetricDescription>;

export type MetricName = keyof typeof METRICS;
