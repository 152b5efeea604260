import type { Logger } from 'pino';
import type { FlowEnding, FlowFacts, FlowSink } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { FlowLog } from './flow-log.ts';
import { LogLimit } from './log-limit.ts';
import type { Metrics } from './metrics.ts';
import type { Reason } from './reasons.ts';
import { RecentFlows } from './recent-flows.ts';
import { flowRecord, recordLine } from './record.ts';

/** Denials in the log, per direction and reason: who is refused a thousand times a second must not fill the node's disk. */
const LOGGED_DENIALS = { lines: 10, perMs: 1_000 };
const RECENT = 200;

/**
 * Counter, flow record and log line of each verdict, made from the same values, so that they cannot disagree. The counter and
 * the flow log have every connection; the log has samples.
 */
export class FlowReporter implements FlowSink {
  /** The last records, for the admin socket. */
  readonly recent = new RecentFlows(RECENT);
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #flowLog: FlowLog | undefined;
  readonly #limit = new LogLimit<`${FlowFacts['direction']} ${Reason}`>(
    LOGGED_DENIALS.lines,
    LOGGED_DENIALS.perMs,
  );

  constructor(metrics: Metrics, log: Logger, flowLog: FlowLog | undefined) {
    this.#metrics = metrics;
    this.#log = log;
    this.#flowLog = flowLog;
  }

  /** @param elapsedMs undefined for a connection that was counted before: its handshake is long over */
  counted(facts: FlowFacts, judgement: Judgement, elapsedMs: number | undefined): void {
    const { direction, peer, handshake } = facts;
    const { verdict, reason } = judgement;
    this.#metrics.counted({ direction, verdict, reason, peer, handshake });
    if (handshake !== 'none' && elapsedMs !== undefined) {
      this.#metrics.handshaken(direction, handshake, elapsedMs / 1000);
    }
  }

  relayed(bytesIn: number, bytesOut: number): void {
    this.#metrics.relayed(bytesIn, bytesOut);
  }

  recorded(facts: FlowFacts, judgement: Judgement, ending: FlowEnding): void {
    const now = Date.now();
    this.recent.add(facts, judgement, ending, now);
    const allowed = judgement.verdict === 'allow';
    // To make a record costs more than everything else here, and mostly nobody would see it.
    if (allowed && this.#flowLog === undefined && !this.#log.isLevelEnabled('debug')) return;
    const record = flowRecord(facts, judgement, ending, now);
    this.#flowLog?.write(recordLine(record));
    if (allowed) {
      this.#log.debug({ flow: record }, 'connection allow');
      return;
    }
    if (!this.#log.isLevelEnabled('info')) return;
    const suppressed = this.#limit.admit(`${record.direction} ${record.reason}`, performance.now());
    if (suppressed === undefined) return;
    this.#log.info(
      suppressed === 0 ? { flow: record } : { flow: record, suppressed },
      `connection ${record.verdict}`,
    );
  }
}
