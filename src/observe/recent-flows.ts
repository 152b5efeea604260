import type { FlowEnd, FlowEnding, FlowFacts } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import { type FlowRecord, flowRecord } from './record.ts';

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** What a record is made of. A place is used again, and holds copies: thousands a second may come by, and nothing of them shall be kept alive. */
interface Place extends Omit<Writable<FlowFacts>, 'source' | 'destination'> {
  readonly source: PlaceEnd;
  readonly destination: PlaceEnd;
  judgement: Judgement;
  bytesIn: number;
  bytesOut: number;
  durationMs: number;
  at: number;
}

interface PlaceEnd {
  address: string;
  port: number;
  namespace: string;
  pod: string;
  trustDomain: string;
}

/** The last flows, oldest first: what the admin socket shows where no flow log is written. Their records are made when somebody looks. */
export class RecentFlows {
  readonly #capacity: number;
  readonly #places: Place[] = [];
  #oldest = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /**
   * @param facts copied
   * @param at milliseconds since the epoch
   */
  add(facts: FlowFacts, judgement: Judgement, ending: FlowEnding, at: number): void {
    const place = this.#next(facts, judgement);
    place.direction = facts.direction;
    place.peer = facts.peer;
    place.handshake = facts.handshake;
    copyEnd(facts.source, place.source);
    copyEnd(facts.destination, place.destination);
    place.judgement = judgement;
    place.bytesIn = ending.bytesIn;
    place.bytesOut = ending.bytesOut;
    place.durationMs = ending.durationMs;
    place.at = at;
  }

  list(): readonly FlowRecord[] {
    return [...this.#places.slice(this.#oldest), ...this.#places.slice(0, this.#oldest)].map((place) =>
      flowRecord(place, place.judgement, place, place.at),
    );
  }

  /** The place for the next flow: a new one, or that of the oldest. */
  #next({ direction, peer, handshake }: FlowFacts, judgement: Judgement): Place {
    if (this.#places.length < this.#capacity) {
      const numbers = { bytesIn: 0, bytesOut: 0, durationMs: 0, at: 0 };
      const ends = { source: emptyEnd(), destination: emptyEnd() };
      const place = { direction, peer, handshake, ...ends, judgement, ...numbers };
      this.#places.push(place);
      return place;
    }
    const place = this.#places[this.#oldest]!;
    this.#oldest = (this.#oldest + 1) % this.#capacity;
    return place;
  }
}

function emptyEnd(): PlaceEnd {
  return { address: '', port: 0, namespace: '', pod: '', trustDomain: '' };
}

/** What is not known is empty, which a record says the same of. */
function copyEnd(from: FlowEnd, into: PlaceEnd): void {
  into.address = from.address;
  into.port = from.port;
  into.namespace = from.namespace ?? '';
  into.pod = from.pod ?? '';
  into.trustDomain = from.trustDomain ?? '';
}
