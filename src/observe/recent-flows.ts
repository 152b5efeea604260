import type { FlowEnding, FlowFacts } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import { type FlowRecord, flowRecord } from './record.ts';

/** What a record is made of. A place is used again, and so holds numbers instead of objects: thousands a second may come by. */
interface Place {
  facts: FlowFacts;
  judgement: Judgement;
  bytesIn: number;
  bytesOut: number;
  durationMs: number;
  at: number;
}

/** The last flows, oldest first: what the admin socket shows where no flow log is written. Their records are made when somebody looks. */
export class RecentFlows {
  readonly #capacity: number;
  readonly #places: Place[] = [];
  #oldest = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** @param at milliseconds since the epoch */
  add(
    facts: FlowFacts,
    judgement: Judgement,
    { bytesIn, bytesOut, durationMs }: FlowEnding,
    at: number,
  ): void {
    if (this.#places.length < this.#capacity) {
      this.#places.push({ facts, judgement, bytesIn, bytesOut, durationMs, at });
      return;
    }
    const place = this.#places[this.#oldest]!;
    place.facts = facts;
    place.judgement = judgement;
    place.bytesIn = bytesIn;
    place.bytesOut = bytesOut;
    place.durationMs = durationMs;
    place.at = at;
    this.#oldest = (this.#oldest + 1) % this.#capacity;
  }

  list(): readonly FlowRecord[] {
    return [...this.#places.slice(this.#oldest), ...this.#places.slice(0, this.#oldest)].map((place) =>
      flowRecord(place.facts, place.judgement, place, place.at),
    );
  }
}
