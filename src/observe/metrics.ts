import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { METRICS, type MetricName } from './metric-list.ts';
import type { FlowRecord } from './record.ts';

export type ConnectionLabels = Pick<FlowRecord, 'direction' | 'verdict' | 'reason' | 'peer' | 'handshake'>;

/** What is asked for when somebody scrapes. */
export interface GaugeReadings {
  readonly openInbound: number;
  readonly openOutbound: number;
  readonly halfOpen: number;
  /** Seconds since the epoch; undefined: no identity. */
  readonly identityExpiresAt: number | undefined;
  /** Milliseconds since the epoch. */
  readonly snapshotTakenAt: number | undefined;
  readonly snapshotVersion: number;
  readonly sourceProblems: number;
  readonly audit: boolean;
  readonly ready: boolean;
  readonly redirect: readonly {
    readonly family: 4 | 6;
    readonly direction: string;
    readonly inForce: boolean;
  }[];
}

/** The metrics of one sidecar, with a registry of their own. Every label takes its values from a closed set. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #connections: Counter;
  readonly #bytes: Counter;
  readonly #handshakes: Histogram;
  readonly #droppedRecords: Counter;

  constructor(version: string, readings: () => GaugeReadings) {
    this.#connections = this.#counter('countersign_connections_total');
    this.#bytes = this.#counter('countersign_relayed_bytes_total');
    this.#droppedRecords = this.#counter('countersign_flow_records_dropped_total');
    this.#handshakes = new Histogram({
      ...this.#describe('countersign_handshake_seconds'),
      buckets: [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    });
    this.#gauge('countersign_build_info', (gauge) => gauge.set({ version, node: process.version }, 1));
    this.#gauge('countersign_open_connections', (gauge) => {
      const { openInbound, openOutbound } = readings();
      gauge.set({ direction: 'inbound' }, openInbound);
      gauge.set({ direction: 'outbound' }, openOutbound);
    });
    this.#gauge('countersign_half_open_connections', (gauge) => gauge.set(readings().halfOpen));
    this.#gauge('countersign_identity_expiry_timestamp_seconds', (gauge) =>
      gauge.set(readings().identityExpiresAt ?? 0),
    );
    this.#gauge('countersign_policy_age_seconds', (gauge) => {
      const { snapshotTakenAt } = readings();
      gauge.set(snapshotTakenAt === undefined ? Number.NaN : (Date.now() - snapshotTakenAt) / 1000);
    });
    this.#gauge('countersign_policy_version', (gauge) => gauge.set(readings().snapshotVersion));
    this.#gauge('countersign_source_problems', (gauge) => gauge.set(readings().sourceProblems));
    this.#gauge('countersign_audit_mode', (gauge) => gauge.set(Number(readings().audit)));
    this.#gauge('countersign_ready', (gauge) => gauge.set(Number(readings().ready)));
    this.#gauge('countersign_redirect_in_force', (gauge) => {
      for (const { family, direction, inForce } of readings().redirect) {
        gauge.set({ family: `ipv${family}`, direction }, Number(inForce));
      }
    });
    this.#gauge('process_resident_memory_bytes', (gauge) => gauge.set(process.memoryUsage.rss()));
    let reported = 0;
    const cpu = this.#counter('process_cpu_seconds_total', (counter) => {
      const { user, system } = process.cpuUsage();
      const seconds = (user + system) / 1e6;
      counter.inc(Math.max(0, seconds - reported));
      reported = seconds;
    });
    cpu.inc(0);
  }

  counted(labels: ConnectionLabels): void {
    const { direction, verdict, reason, peer, handshake } = labels;
    this.#connections.inc({ direction, verdict, reason, peer, handshake });
  }

  relayed(bytesIn: number, bytesOut: number): void {
    if (bytesIn > 0) this.#bytes.inc({ direction: 'in' }, bytesIn);
    if (bytesOut > 0) this.#bytes.inc({ direction: 'out' }, bytesOut);
  }

  handshaken(direction: 'inbound' | 'outbound', handshake: 'full' | 'resumed', seconds: number): void {
    this.#handshakes.observe({ direction, handshake }, seconds);
  }

  droppedRecords(count: number): void {
    this.#droppedRecords.inc(count);
  }

  /** The text that Prometheus scrapes, and its content type. */
  async text(): Promise<{ contentType: string; body: string }> {
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }

  #describe(name: MetricName) {
    const { help, labels } = METRICS[name];
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
  }

  #counter(name: MetricName, collect?: (counter: Counter) => void): Counter {
    return new Counter({
      ...this.#describe(name),
      ...(collect && {
        collect(this: Counter) {
          collect(this);
        },
      }),
    });
  }

  #gauge(name: MetricName, collect: (gauge: Gauge) => void): void {
    // eslint-disable-next-line no-new -- registers itself
    new Gauge({
      ...this.#describe(name),
      collect(this: Gauge) {
        collect(this);
      },
    });
  }
}
