import type { HandshakeKind } from '../handshake/outcome.ts';
import type { Endpoint } from '../lib/address.ts';
import type { Closed } from '../relay/data-path.ts';
import type { Connection } from './connection.ts';
import type { Judgement } from './judgement.ts';

/**
 * What kind of other side it was: `federated` proved itself and is of another trust domain; `node` and `external` go by address, `unproven` is
 * everybody else who proved nothing.
 */
export type PeerKind = 'proven' | 'federated' | 'unproven' | 'external' | 'node';

/** Who a pod is, for people. */
export interface PodName {
  readonly namespace: string;
  readonly pod: string;
  /** The other trust domain that the pod is of; left out: it is of the own one. Its namespace has the name that it has here then. */
  readonly trustDomain?: string;
}

/** One end of a flow, as far as it is known. */
export interface FlowEnd extends Endpoint, Partial<PodName> {}

/** Everything that is said about a connection, but for its end. */
export interface FlowFacts {
  readonly direction: 'inbound' | 'outbound';
  readonly peer: PeerKind;
  readonly handshake: HandshakeKind | 'none';
  readonly source: FlowEnd;
  readonly destination: FlowEnd;
}

/**
 * Where flows are reported: counters at each verdict, a record at a denial or at the end, bytes as they become known. Facts and endings hold until
 * the call returns: who keeps any of them copies it.
 */
export interface FlowSink {
  /** @param elapsedMs since the connection was accepted; undefined when it was counted before, so that no handshake is measured */
  counted(facts: FlowFacts, judgement: Judgement, elapsedMs: number | undefined): void;
  /** @param ending of a connection that goes on in audit mode: how far it has come */
  recorded(facts: FlowFacts, judgement: Judgement, ending: FlowEnding): void;
  /** Bytes that were not told before. */
  relayed(bytesIn: number, bytesOut: number): void;
}

export interface FlowEnding {
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
}

/** What a flow needs of whatever carries it. */
export interface FlowConnection {
  /** Monotonic milliseconds. */
  readonly startedAt: number;
  progress(): { bytesIn: number; bytesOut: number } | undefined;
  /** Ends it on both sides at once. */
  reset(): void;
}

/**
 * What is reported of one connection. A verdict is counted when it falls; a later one, of a connection that is cut, is counted
 * again. The record is written once: at once for a denial, also for one that audit mode lets pass (the connection may live for days), else at the end. One more
 * is written when a connection that audit mode let pass is cut after all.
 */
export class Flow<C extends FlowConnection = Connection> {
  readonly #sink: FlowSink;
  readonly #connection: C;
  #facts: FlowFacts;
  #judgement: Judgement | undefined;
  #recorded = false;
  #over = false;
  #told = { bytesIn: 0, bytesOut: 0 };
  /** Who the other side proved to be, or is believed to be, and what it may: asked again whenever anything changes. */
  rejudge: (() => Judgement) | undefined;

  constructor(sink: FlowSink, connection: C, facts: FlowFacts) {
    this.#sink = sink;
    this.#connection = connection;
    this.#facts = facts;
  }

  get facts(): FlowFacts {
    return this.#facts;
  }

  get direction(): FlowFacts['direction'] {
    return this.#facts.direction;
  }

  get judgement(): Judgement | undefined {
    return this.#judgement;
  }

  get connection(): C {
    return this.#connection;
  }

  /** What became known in the meantime. */
  learn(facts: Partial<FlowFacts>): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  /**
   * The verdict has fallen: counts it.
   * @param tookMs from the accepted connection to a first verdict that fell earlier
   */
  judge(judgement: Judgement, tookMs?: number): void {
    const first = this.#judgement === undefined;
    this.#judgement = judgement;
    const elapsedMs = first ? (tookMs ?? performance.now() - this.#connection.startedAt) : undefined;
    this.#sink.counted(this.#facts, judgement, elapsedMs);
    if (judgement.verdict === 'would_deny' && !this.#recorded) this.#record(this.#connection.progress());
  }

  /** Takes over the verdict of an earlier run, which counted it. */
  resume(judgement: Judgement): void {
    this.#judgement = judgement;
  }

  /** Denied, before or after it was allowed: counts, resets both sides, and writes the record. */
  deny(judgement: Judgement): void {
    if (this.#over) return;
    this.#over = true;
    try {
      this.judge(judgement);
      if (judgement.verdict === 'deny') this.#record(this.#connection.progress());
    } finally {
      // Whatever becomes of what is said about it.
      this.#connection.reset();
    }
  }

  /** The connection is over. */
  end(closed: Closed): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#recorded) this.#tell(closed);
    else this.#record(closed);
  }

  #record(bytes: { bytesIn: number; bytesOut: number } | undefined): void {
    if (this.#judgement === undefined) return;
    this.#recorded = true;
    this.#tell(bytes);
    this.#sink.recorded(this.#facts, this.#judgement, {
      bytesIn: bytes?.bytesIn ?? 0,
      bytesOut: bytes?.bytesOut ?? 0,
      durationMs: performance.now() - this.#connection.startedAt,
    });
  }

  #tell({ bytesIn, bytesOut } = this.#told): void {
    this.#sink.relayed(bytesIn - this.#told.bytesIn, bytesOut - this.#told.bytesOut);
    this.#told = { bytesIn, bytesOut };
  }
}
