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

/** The flows that are allowed and open, so that a change can judge them again. */
export class OpenFlows {
  readonly #flows = new Set<OpenFlow>();

  get size(): number {
    return this.#flows.size;
  }

  count(direction: 'inbound' | 'outbound'): number {
    let count = 0;
    for (const flow of this.#flows) if (flow.direction === direction) count++;
    return count;
  }

  [Symbol.iterator](): IterableIterator<OpenFlow> {
    return this.#flows.values();
  }

  add(flow: OpenFlow): void {
    this.#flows.add(flow);
  }

  delete(flow: OpenFlow): void {
    this.#flows.delete(flow);
  }

  /**
   * Judges every open flow again, after any change of policy, labels or identity. What is no longer allowed is cut; what audit mode would cut
   * is counted once more under its new verdict.
   */
  rejudge(): void {
    for (const flow of this.#flows) rejudge(flow);
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
