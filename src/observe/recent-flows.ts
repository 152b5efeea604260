import type { FlowEnding, FlowFacts } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import { type FlowRecord, flowRecord } from './record.ts';

/** What a record is made of. */
interface Settled {
  readonly facts: FlowFacts;
  readonly judgement: Judgement;
  readonly ending: FlowEnding;
  readonly at: number;
}

/** The last flows, oldest first: what the admin socket shows where no flow log is written. Their records are made when somebody looks. */
export class RecentFlows {
  readonly #capacity: number;
  readonly #flows: Settled[] = [];
  #oldest = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** @param at milliseconds since the epoch */
  add(facts: FlowFacts, judgement: Judgement, ending: FlowEnding, at: number): void {
    const settled = { facts, judgement, ending, at };
    if (this.#flows.length < this.#capacity) {
      this.#flows.push(settled);
      return;
    }
    this.#flows[this.#oldest] = settled;
    this.#oldest = (this.#oldest + 1) % this.#capacity;
  }

  list(): readonly FlowRecord[] {
    return [...this.#flows.slice(this.#oldest), ...this.#flows.slice(0, this.#oldest)].map(
      ({ facts, judgement, ending, at }) => flowRecord(facts, judgement, ending, at),
    );
  }
}
