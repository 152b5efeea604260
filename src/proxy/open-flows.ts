import type { FlowFacts } from './flow.ts';
import type { Judgement } from './judgement.ts';

/** A flow as far as it can be judged again. */
export interface OpenFlow {
  readonly direction: FlowFacts['direction'];
  /** The last verdict. */
  readonly judgement: Judgement | undefined;
  /** What the verdict would be now. */
  readonly rejudge: (() => Judgement) | undefined;
  /** Counts another verdict. */
  judge(judgement: Judgement): void;
  /** Cuts it. */
  deny(judgement: Judgement): void;
}

/** So long flows are judged again at a stretch, milliseconds, and then others on the event loop have their turn: there may be a hundred thousand. */
const TURN_MS = 10;
/** So many at least, and so many between two looks at the clock. */
const AT_ONCE = 32;
/** What nobody can judge any more does not go on. */
const UNJUDGED: Judgement = {
  verdict: 'deny',
  reason: 'policy-changed',
  detail: 'it could not be judged again because of a defect, which the log tells',
};

/** The flows that are allowed and open, so that a change can judge them again. */
export class OpenFlows {
  /** Those that were not judged for longest come first. */
  readonly #flows = new Set<OpenFlow>();
  readonly #onDefect: (error: unknown) => void;
  readonly #beforeTurn: () => void;
  /** Counted as they come and go: metrics ask for it, and there may be a hundred thousand. */
  #inbound = 0;
  /** How many, from the first on, were not judged since the last change. */
  #left = 0;
  #next: NodeJS.Immediate | undefined;

  /**
   * @param onDefect hears of a flow whose judging threw; it is cut
   * @param beforeTurn brings the flows up to date, before any turn but the first: on the ports of one that has ended a new one may have come meanwhile, and what
   * is done to the old one would be done to that
   */
  constructor(onDefect: (error: unknown) => void, beforeTurn: () => void) {
    this.#onDefect = onDefect;
    this.#beforeTurn = beforeTurn;
  }

  get size(): number {
    return this.#flows.size;
  }

  count(direction: 'inbound' | 'outbound'): number {
    return direction === 'inbound' ? this.#inbound : this.#flows.size - this.#inbound;
  }

  [Symbol.iterator](): IterableIterator<OpenFlow> {
    return this.#flows.values();
  }

  add(flow: OpenFlow): void {
    if (!this.#flows.has(flow) && flow.direction === 'inbound') this.#inbound++;
    this.#flows.add(flow);
  }

  delete(flow: OpenFlow): void {
    if (this.#flows.delete(flow) && flow.direction === 'inbound') this.#inbound--;
  }

  /**
   * Judges every open flow again, after any change of policy, labels or identity. What is no longer allowed is cut; what audit mode would cut
   * is counted once more under its new verdict. The first ones before this returns, the others in turns of the event loop, each by what holds then. With another
   * change meanwhile all are judged again, and those come first that were not judged for longest: however often something changes, each has its turn.
   */
  rejudge(): void {
    this.#left = this.#flows.size;
    clearImmediate(this.#next);
    this.#turn();
  }

  /** Judges none any more. */
  close(): void {
    this.#left = 0;
    clearImmediate(this.#next);
  }

  #turn(): void {
    const until = performance.now() + TURN_MS;
    let judged = 0;
    for (const flow of this.#flows) {
      // One that ended was counted, too: then some are judged twice, and none is left out.
      if (this.#left === 0) return;
      if (++judged % AT_ONCE === 0 && performance.now() >= until) break;
      this.#left--;
      this.#flows.delete(flow);
      this.#flows.add(flow);
      this.#judge(flow);
    }
    if (this.#flows.size === 0) this.#left = 0;
    if (this.#left > 0) this.#next = setImmediate(() => this.#later());
  }

  #later(): void {
    try {
      this.#beforeTurn();
    } catch (error) {
      this.#onDefect(error);
    }
    this.#turn();
  }

  #judge(flow: OpenFlow): void {
    try {
      rejudge(flow);
    } catch (error) {
      this.#onDefect(error);
      try {
        flow.deny(UNJUDGED);
      } catch (another) {
        this.#onDefect(another);
      }
    }
  }
}

/** Judges a flow that was allowed once more: cuts it, or counts what audit mode would cut. */
export function rejudge(flow: OpenFlow): void {
  const judgement = flow.rejudge?.();
  if (judgement === undefined || judgement.verdict === 'allow') return;
  // A denial of policy is, for a connection that was allowed, a change; a lost identity keeps its own name.
  const reason = judgement.reason.endsWith('-denied') ? 'policy-changed' : judgement.reason;
  if (judgement.verdict === 'deny') flow.deny({ ...judgement, reason });
  else if (flow.judgement?.verdict === 'allow') flow.judge({ ...judgement, reason });
}
