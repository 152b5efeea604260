import { Counter, Gauge, Registry } from 'prom-client';
import { DurationHistogram } from './duration-histogram.ts';
import {
  type FastOpenOutcome,
  type MetricDescription,
  type MetricName,
  METRICS,
  UNKNOWN_LABEL,
} from './metric-list.ts';
import { readMaxFds, readProcess } from './process-readings.ts';
import type { FlowRecord } from './record.ts';
import { WaitingCounts } from './waiting-counts.ts';

export type ConnectionLabels = Pick<FlowRecord, 'direction' | 'verdict' | 'reason' | 'peer' | 'handshake'>;

/** What is asked for when somebody scrapes. */
export interface GaugeReadings {
  readonly openInbound: number;
  readonly openOutbound: number;
  readonly halfOpen: number;
  /** How many connections there may be. */
  readonly limit: number;
  /** Since the start. */
  readonly beyondLimit: Readonly<Record<'all' | 'source', Readonly<Record<'inbound' | 'outbound', number>>>>;
  /** Since the start. */
  readonly pipesRefused: number;
  /** Seconds since the epoch; undefined: no identity. */
  readonly identityExpiresAt: number | undefined;
  /** Milliseconds since the epoch. */
  readonly snapshotTakenAt: number | undefined;
  readonly sourceConfirmedAt: number | undefined;
  readonly snapshotVersion: number;
  readonly sourceProblems: number;
  readonly audit: boolean;
  readonly ready: boolean;
  readonly redirect: readonly {
    readonly family: 4 | 6;
    readonly direction: 'inbound' | 'outbound';
    readonly inForce: boolean;
  }[];
}

const BEYOND_LIMIT = (['all', 'source'] as const).flatMap((limit) =>
  (['inbound', 'outbound'] as const).map((direction) => ({ limit, direction })),
);
const CONNECTION_LABELS = METRICS.countersign_connections_total.labels;

/** The metrics of one sidecar, with a registry of their own. Every label takes its values from a closed set. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #verdicts: WaitingCounts<ConnectionLabels>;
  readonly #bytes: Counter;
  #bytesIn = 0;
  #bytesOut = 0;
  readonly #fastOpens: WaitingCounts<{ readonly outcome: FastOpenOutcome }>;
  readonly #handshakes: DurationHistogram;
  readonly #decisions: DurationHistogram;
  readonly #droppedRecords: Counter;
  readonly #fallbacks: Counter;
  readonly #lostPackets: Counter;
  readonly #droppedStrangers: Counter;
  readonly #refresh: () => void;
  #text: Promise<string> | undefined;

  /** @param readings called once per scrape */
  constructor(version: string, readings: () => GaugeReadings) {
    const connections = this.#counter('countersign_connections_total');
    this.#verdicts = new WaitingCounts(
      ['direction', 'verdict', 'reason', 'peer', 'handshake'],
      (labels, by) => {
        connections.inc(
          {
            direction: closed('direction', labels.direction),
            verdict: closed('verdict', labels.verdict),
            reason: closed('reason', labels.reason),
            peer: closed('peer', labels.peer),
            handshake: closed('handshake', labels.handshake),
          },
          by,
        );
      },
    );
    this.#bytes = this.#counter('countersign_relayed_bytes_total');
    const fastOpens = this.#counter('countersign_fast_open_dials_total');
    this.#fastOpens = new WaitingCounts(['outcome'], (labels, by) => fastOpens.inc(labels, by));
    this.#droppedRecords = this.#counter('countersign_flow_records_dropped_total');
    this.#fallbacks = this.#counter('countersign_carrier_fallbacks_total');
    this.#lostPackets = this.#counter('countersign_queue_lost_packets_total');
    this.#droppedStrangers = this.#counter('countersign_queue_strangers_dropped_total');
    this.#handshakes = this.#histogram('countersign_handshake_seconds', (direction, handshake = '') => ({
      direction: closed('direction', direction),
      handshake: closed('handshake', handshake),
    }));
    this.#decisions = this.#histogram('countersign_decision_seconds', (direction) => ({
      direction: closed('direction', direction),
    }));
    this.#gauge('countersign_build_info').set({ version, node: process.version }, 1);
    this.#gauge('process_start_time_seconds').set(performance.timeOrigin / 1000);
    this.#gauge('process_max_fds').set(readMaxFds());
    this.#refresh = this.#gauges(readings);
  }

  /** Counts a verdict. A label's value that is not of its set, which only a defect can bring, makes no series of its own. */
  counted(labels: ConnectionLabels): void {
    this.#verdicts.add(labels);
  }

  fastOpened(outcome: FastOpenOutcome): void {
    this.#fastOpens.add({ outcome });
  }

  relayed(bytesIn: number, bytesOut: number): void {
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  handshaken(direction: 'inbound' | 'outbound', handshake: 'full' | 'resumed', seconds: number): void {
    this.#handshakes.observe(seconds, direction, handshake);
  }

  decided(direction: 'inbound' | 'outbound', seconds: number): void {
    this.#decisions.observe(seconds, direction);
  }

  droppedRecords(count: number): void {
    this.#droppedRecords.inc(count);
  }

  /** An address is called by the other carrier from now on. */
  fellBack(): void {
    this.#fallbacks.inc();
  }

  /** Packets that no queue could hand over. */
  lostPackets(count: number): void {
    this.#lostPackets.inc(count);
  }

  /** Packets that the gate in the addon dropped. */
  droppedStrangers(count: number): void {
    this.#droppedStrangers.inc(count);
  }

  /** The text that Prometheus scrapes, and its content type. Requests at the same moment share one. */
  async text(): Promise<{ contentType: string; body: string }> {
    if (this.#text === undefined) {
      // In this order: to be asked for readings is where the rest of the news is told.
      this.#refresh();
      this.#settle();
      this.#text = this.#registry.metrics().finally(() => {
        this.#text = undefined;
      });
    }
    return { contentType: this.#registry.contentType, body: await this.#text };
  }

  /** What was counted since the last time. */
  #settle(): void {
    this.#verdicts.settle();
    this.#fastOpens.settle();
    if (this.#bytesIn > 0) this.#bytes.inc({ direction: 'in' }, this.#bytesIn);
    if (this.#bytesOut > 0) this.#bytes.inc({ direction: 'out' }, this.#bytesOut);
    this.#bytesIn = this.#bytesOut = 0;
  }

  /** @returns sets all gauges to what is true now */
  #gauges(readings: () => GaugeReadings): () => void {
    const open = this.#gauge('countersign_open_connections');
    const halfOpen = this.#gauge('countersign_half_open_connections');
    const expiry = this.#gauge('countersign_identity_expiry_timestamp_seconds');
    const age = this.#gauge('countersign_policy_age_seconds');
    const sourceAge = this.#gauge('countersign_source_age_seconds');
    const version = this.#gauge('countersign_policy_version');
    const problems = this.#gauge('countersign_source_problems');
    const audit = this.#gauge('countersign_audit_mode');
    const redirect = this.#gauge('countersign_redirect_in_force');
    const memory = this.#gauge('process_resident_memory_bytes');
    const fds = this.#gauge('process_open_fds');
    const limit = this.#gauge('countersign_connection_limit');
    const refused = this.#counter('countersign_connections_beyond_limit_total');
    const beyond = BEYOND_LIMIT.map((labels) => [labels, total(refused, labels)] as const);
    const pipes = this.#total('countersign_pipes_refused_total');
    const cpu = this.#total('process_cpu_seconds_total');
    const busy = this.#total('nodejs_eventloop_busy_seconds_total');
    const ready = this.#gauge('countersign_ready');
    return () => {
      const now = readings();
      open.set({ direction: 'inbound' }, now.openInbound);
      open.set({ direction: 'outbound' }, now.openOutbound);
      halfOpen.set(now.halfOpen);
      limit.set(now.limit);
      for (const [{ limit: why, direction }, set] of beyond) set(now.beyondLimit[why][direction]);
      pipes(now.pipesRefused);
      expiry.set(now.identityExpiresAt ?? 0);
      age.set(now.snapshotTakenAt === undefined ? Number.NaN : (Date.now() - now.snapshotTakenAt) / 1000);
      sourceAge.set(
        now.sourceConfirmedAt === undefined ? Number.NaN : (Date.now() - now.sourceConfirmedAt) / 1000,
      );
      version.set(now.snapshotVersion);
      problems.set(now.sourceProblems);
      audit.set(Number(now.audit));
      ready.set(Number(now.ready));
      for (const { family, direction, inForce } of now.redirect) {
        redirect.set({ family: `ipv${family}`, direction }, Number(inForce));
      }
      const own = readProcess();
      memory.set(own.residentBytes);
      fds.set(own.openFds);
      cpu(own.cpuSeconds);
      busy(own.busySeconds);
    };
  }

  #describe(name: MetricName) {
    const { help, labels } = METRICS[name];
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] };
  }

  #counter(name: MetricName): Counter {
    return new Counter(this.#describe(name));
  }

  #histogram(
    name: 'countersign_handshake_seconds' | 'countersign_decision_seconds',
    labelsOf: (first: string, second: string | undefined) => Record<string, string>,
  ): DurationHistogram {
    const { help, buckets } = METRICS[name];
    const histogram = new DurationHistogram({ name, help, buckets }, labelsOf);
    this.#registry.registerMetric(histogram.metric);
    return histogram;
  }

  /** {@link total} without labels. */
  #total(name: MetricName): (value: number) => void {
    return total(this.#counter(name), {});
  }

  #gauge(name: MetricName): Gauge {
    return new Gauge(this.#describe(name));
  }
}

/** A counter that somebody else keeps: what is shown now is what it is. */
function total(counter: Counter, labels: Readonly<Record<string, string>>): (value: number) => void {
  let reported = 0;
  counter.inc(labels, 0);
  return (value) => {
    if (value <= reported) return;
    counter.inc(labels, value - reported);
    reported = value;
  };
}

function closed(label: keyof typeof CONNECTION_LABELS, value: string): string {
  const { [label]: values }: MetricDescription['labels'] = CONNECTION_LABELS;
  return values?.includes(value) === true ? value : UNKNOWN_LABEL;
}
