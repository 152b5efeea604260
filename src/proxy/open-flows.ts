import type { Flow, FlowConnection } from './flow.ts';

/** The flows that are allowed and open, so that a change can judge them again. */
export class OpenFlows {
  readonly #flows = new Set<Flow<FlowConnection>>();

  get size(): number {
    return this.#flows.size;
  }

  count(direction: 'inbound' | 'outbound'): number {
    let count = 0;
    for (const flow of this.#flows) if (flow.facts.direction === direction) count++;
    return count;
  }

  [Symbol.iterator](): IterableIterator<Flow<FlowConnection>> {
    return this.#flows.values();
  }

  add(flow: Flow<FlowConnection>): void {
    this.#flows.add(flow);
  }

  delete(flow: Flow<FlowConnection>): void {
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
export function rejudge(flow: Flow<FlowConnection>): void {
  const judgement = flow.rejudge?.();
  if (judgement === undefined || judgement.verdict === 'allow') return;
  // A denial of policy is, for a connection that was allowed, a change; a lost identity keeps its own name.
  const reason = judgement.reason.endsWith('-denied') ? 'policy-changed' : judgement.reason;
  if (judgement.verdict === 'deny') flow.deny({ ...judgement, reason });
  else if (flow.judgement?.verdict === 'allow') flow.judge({ ...judgement, reason });
}
