import type { Logger } from 'pino';
import type { FlowEnd, FlowEnding, FlowFacts, FlowSink } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { FlowLog } from './flow-log.ts';
import type { Metrics } from './metrics.ts';
import { type FlowRecord, type RecordEnd, recordLine } from './record.ts';

/** Counter, flow record and log line of each verdict, made from the same values, so that they cannot disagree. */
export class FlowReporter implements FlowSink {
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #flowLog: FlowLog | undefined;

  constructor(metrics: Metrics, log: Logger, flowLog: FlowLog | undefined) {
    this.#metrics = metrics;
    this.#log = log;
    this.#flowLog = flowLog;
  }

  counted(facts: FlowFacts, judgement: Judgement, elapsedMs: number): void {
    const { direction, peer, handshake } = facts;
    const { verdict, reason } = judgement;
    this.#metrics.counted({ direction, verdict, reason, peer, handshake });
    if (handshake !== 'none') this.#metrics.handshaken(direction, handshake, elapsedMs / 1000);
  }

  ended(facts: FlowFacts, judgement: Judgement, ending: FlowEnding): void {
    this.#metrics.relayed(ending.bytesIn, ending.bytesOut);
    const record: FlowRecord = {
      time: new Date().toISOString(),
      direction: facts.direction,
      verdict: judgement.verdict,
      reason: judgement.reason,
      peer: facts.peer,
      handshake: facts.handshake,
      source: recordEnd(facts.source),
      destination: recordEnd(facts.destination),
      policy: judgement.policy ?? null,
      rule: judgement.rule ?? null,
      bytes_in: ending.bytesIn,
      bytes_out: ending.bytesOut,
      duration_ms: ending.durationMs,
      detail: judgement.detail ?? null,
    };
    this.#flowLog?.write(recordLine(record));
    const level = judgement.verdict === 'allow' ? 'debug' : 'info';
    if (this.#log.isLevelEnabled(level)) this.#log[level]({ flow: record }, `connection ${record.verdict}`);
  }
}

function recordEnd(end: FlowEnd): RecordEnd {
  return {
    namespace: end.namespace ?? null,
    pod: end.pod ?? null,
    address: end.address,
    port: end.port,
  };
}
