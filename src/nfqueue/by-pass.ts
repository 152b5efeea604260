import { MONOTONIC_ORIGIN } from '../lib/monotonic-origin.ts';
import { rejudge } from '../proxy/open-flows.ts';
import type { PassUser } from '../proxy/passes.ts';
import { PassingFacts } from '../proxy/resumed.ts';
import type { FlowTable } from './flow-table.ts';
import type { PacketPath } from './packet-path.ts';
import type { EndedPass, PassRecord } from './pass-records.ts';
import { passedFlow } from './passed-flow.ts';
import type { QueueProxyOptions } from './queue-proxy-options.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** Connections that go by passes are told so often, milliseconds; one that comes alone is told at once. */
const SOON_MS = 20;
/** So many in {@link SOON_MS} are a burst: they are kept back, and most of them are over when they are told. */
const FEW = 8;
/** Of a burst what is older is told: until then a crash of this process would lose it, and most are over by then. */
const KEPT_BACK_MS = 200;
/** So often in a burst, so that it is not much at a time. */
const LOOK_MS = 50;
/** What a pass has begun, and what was not answered so long, is TypeScript's: the application may give up, or say its SYN again. */
const UNANSWERED_MS = 500;
/** Nothing is handed over that is not over; nothing that is kept back is told. */
const NOTHING = Number.MAX_SAFE_INTEGER;

/** Who has the flows. */
export interface FlowOwner {
  readonly path: PacketPath;
  readonly cut: (one: QueuedFlow) => void;
  /** An older connection is over. */
  end(one: QueuedFlow): void;
}

/** Takes over the flows that went by passes: they are entered, counted, kept and judged as those that went through the reducers. */
export class ByPass implements PassUser {
  readonly #options: QueueProxyOptions;
  readonly #owner: FlowOwner;
  readonly #table: FlowTable;
  readonly #forget: (one: QueuedFlow) => void;
  #soon: NodeJS.Timeout | undefined;
  #atOnce: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #toldAt = 0;
  #count = 0;
  readonly #facts = new PassingFacts();
  readonly #onEnded = (one: EndedPass): void => {
    try {
      this.#ended(one);
    } catch (error) {
      this.#options.onDefect(error);
    }
  };

  /** @param forget a connection that never came to be is forgotten */
  constructor(
    options: QueueProxyOptions,
    owner: FlowOwner,
    table: FlowTable,
    forget: (one: QueuedFlow) => void,
  ) {
    this.#options = options;
    this.#owner = owner;
    this.#table = table;
    this.#forget = forget;
  }

  /**
   * There is something to be told. At once after the packets of this turn, so that the file of flows knows nearly as early as the kernel; where much is told,
   * with what comes in the next milliseconds; in a burst, a little later. Asked again before that: now, there is much.
   */
  soon(): void {
    if (this.#soon !== undefined || this.#atOnce !== undefined) return this.#take(NOTHING, 0, true);
    const left = this.#toldAt + SOON_MS - performance.now();
    if (left <= 0) this.#atOnce = setImmediate(() => this.#tellFew());
    else this.#soon = setTimeout(() => this.#tellFew(), left);
    this.#soon?.unref();
  }

  #tellFew(): void {
    if (this.#keptBack <= FEW) return this.#take(NOTHING, 0);
    this.#toldAt = performance.now();
    this.news();
    this.#tellLater();
  }

  get #keptBack(): number {
    return this.#owner.path.passing?.keptBack ?? 0;
  }

  /** As long as a burst leaves something to be told. */
  #tellLater(): void {
    if (this.#later !== undefined || this.#keptBack === 0) return;
    this.#later = setTimeout(() => {
      this.#later = undefined;
      this.#take(NOTHING, KEPT_BACK_MS, true);
      this.#tellLater();
    }, LOOK_MS);
    this.#later.unref();
  }

  /** The connection with this key, where it was kept back. */
  reveal(key: string): QueuedFlow | undefined {
    if (this.#owner.path.passing?.reveal(key) !== true) return undefined;
    this.news();
    return this.#table.get(key);
  }

  /** Connections that passes have established, so far. */
  get count(): number {
    this.tell();
    return this.#count;
  }

  /** All, also what was kept back. */
  tell(): void {
    this.#take(NOTHING, 0);
  }

  /** What cannot be kept back: it comes before any packet that JavaScript gets. */
  news(): void {
    this.#take(NOTHING, NOTHING);
  }

  /** {@link news}; what was not answered for long is handed over, and what was kept back for long is told. */
  tick(): void {
    this.#take(UNANSWERED_MS, KEPT_BACK_MS, true);
  }

  takeBack(): void {
    this.#take(0, 0);
  }

  #take(handOverMs: number, keptBackMs: number, askForEnds = false): void {
    clearTimeout(this.#soon);
    clearImmediate(this.#atOnce);
    this.#soon = this.#atOnce = undefined;
    const { passing } = this.#owner.path;
    for (const record of passing?.take(handOverMs, keptBackMs, this.#onEnded, askForEnds) ?? []) {
      this.#toldAt = performance.now();
      try {
        this.#enter(record);
      } catch (error) {
        // The rest is of others: none of them may go unjudged.
        this.#owner.path.cutConnection(record.tuple, record.outgoing, record.device);
        this.#options.onDefect(error);
      }
    }
  }

  /** It never was more than its counters and its record: nothing of it is in the table, nor in the file of flows. */
  #ended(one: EndedPass): void {
    this.#toldAt = performance.now();
    const { around } = this.#options;
    const pass = around.passes.find(one.pass);
    if (pass === undefined) return;
    this.#count++;
    const { bytesOriginal: bytesIn, bytesReply: bytesOut } = one;
    const facts = this.#facts.of(one, pass);
    const durationMs = this.#toldAt - (one.since / 1000 - MONOTONIC_ORIGIN);
    around.sink.counted(facts, pass.judgement, one.tookUs / 1000);
    around.sink.relayed(bytesIn, bytesOut);
    around.sink.recorded(facts, pass.judgement, { bytesIn, bytesOut, durationMs });
  }

  #enter(record: PassRecord): void {
    const { around } = this.#options;
    const passed = passedFlow(record, around, this.#owner.cut);
    if (passed === undefined) {
      // Given so long ago that nobody knows what was decided.
      this.#owner.path.passing?.release(record.key, record.initial);
      return this.#owner.path.cutConnection(record.tuple, record.outgoing, record.device);
    }
    if (record.established) this.#count++;
    const { one } = passed;
    const known = this.#table.get(record.key);
    if (known?.established !== true) {
      if (known !== undefined) this.#forget(known);
    } else if (record.outgoing || record.established) {
      // Our own kernel has another connection on its ports.
      this.#owner.end(known);
    } else {
      one.previous = known;
    }
    if (passed.kind === 'calling') {
      // Its SYN, said again, is asked about anew.
      if (this.#table.isFull) return this.#owner.path.passing?.release(record.key, record.initial);
      return this.#table.enter(one);
    }
    this.#table.told(one);
    one.flow.judge(passed.pass.judgement, record.tookUs / 1000);
    around.open.add(one.flow);
    this.#options.onVerified?.(one);
    // Between the decision and the news of it something may have changed that cuts it now.
    if (!around.passes.stands(passed.pass)) rejudge(one.flow);
  }
}
