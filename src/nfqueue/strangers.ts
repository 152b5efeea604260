import { LRUCache } from 'lru-cache';
import { decodeFrame } from '../handshake/frames.ts';
import { isAdmitted } from '../handshake/server.ts';
import { TokenBucket } from './token-bucket.ts';

/** Full handshakes a second: so many in all, so many from one address. A core does about three thousand. */
const TOTAL = { perSecond: 2_000, burst: 2_000 };
const PER_SOURCE = { perSecond: 300, burst: 600 };
/** Hellos that nobody here could have made: so many a second are answered and recorded, the others are dropped. */
const UNADMITTED = { perSecond: 100, burst: 100 };
const MAX_SOURCES = 4_096;
/**
 * Milliseconds that full handshakes may take of a second, whatever the machine gives: what is left has to be enough to drop the others, and for those
 * whose session is known, who wait in the same queue. Two seconds at once are a crowd, not a flood.
 */
const TIME = { perSecond: 600, burst: 2_000 };

/** Full handshakes that are let in where time is owed, so that their cost is known; and milliseconds of one before any was seen. */
const FEWEST = 10;
const FIRST_COST = 0.5;

/**
 * What is done with a Hello in a SYN before it costs anything. `hear-known`: its admission MAC is right and it offers a session that is known here,
 * `hear-admitted`: its admission MAC is right.
 */
export type Admission = 'hear-known' | 'hear-admitted' | 'hear' | 'drop';

/** What is asked about a Hello. */
export interface AdmissionQuestion {
  readonly hello: Uint8Array;
  readonly source: string;
  readonly admissionKeys: readonly Uint8Array[];
  /** Whether a session is known here. */
  readonly knowsSession: (id: Uint8Array) => boolean;
  /** Whether there is a place among the half-open ones. */
  readonly hasPlace: () => boolean;
}

/**
 * Cheap before dear, for SYNs: anybody can send them, with any source. One that resumes a known session is always heard, so that a flood of strangers
 * does not touch those who were here before. Of the rest there are only so many a second, and only so much of the time is for them; a Hello without a
 * right admission MAC costs one hash. What is dropped comes again, since TCP repeats its SYN.
 */
export class Strangers {
  readonly #total = new TokenBucket(TOTAL);
  readonly #unadmitted = new TokenBucket(UNADMITTED);
  readonly #time = new TokenBucket(TIME);
  readonly #bySource = new LRUCache<string, TokenBucket>({ max: MAX_SOURCES });
  /** Of those that offer a known session and make full handshakes all the same. */
  readonly #fallenBySource = new LRUCache<string, TokenBucket>({ max: MAX_SOURCES });
  /** Milliseconds that one has taken of late. */
  #cost = FIRST_COST;
  /** Hellos that were dropped. */
  dropped = 0;

  /** @param now monotonic milliseconds */
  admit(question: AdmissionQuestion, now: number): Admission {
    const admission = this.#judge(question, now);
    if (admission === 'drop') this.dropped++;
    return admission;
  }

  /** A full handshake with a stranger has taken so many milliseconds. */
  spent(milliseconds: number): void {
    this.#time.spend(milliseconds);
    this.#cost += (milliseconds - this.#cost) / 16;
  }

  /**
   * A Hello that was heard for the session which it offers was a full handshake all the same. Its counter was too old, and who has a session can make as
   * many of those as there is time for: beyond the limits of a stranger no session of that address speaks for it.
   */
  fellThrough(source: string, now: number): void {
    bucketOf(this.#fallenBySource, source).take(now);
  }

  /** How many full handshakes there is time for now; those beyond it are dropped here in any case. */
  room(now: number): number {
    const fitting = this.#time.left(now) / Math.max(this.#cost, 0.01);
    return Math.round(Math.min(Math.max(fitting, FEWEST), TOTAL.burst));
  }

  #judge(
    { hello, source, admissionKeys, knowsSession, hasPlace }: AdmissionQuestion,
    now: number,
  ): Admission {
    const frame = decodeFrame(hello);
    const isKnown =
      frame.type === 'hello' &&
      frame.offers.some(({ sessionId }) => knowsSession(sessionId)) &&
      this.#fallenBySource.get(source)?.has(now) !== false;
    if (!isKnown && !this.#time.has(now)) return 'drop';
    if (frame.type !== 'hello' || !isAdmitted(frame, hello, admissionKeys)) {
      return this.#unadmitted.take(now) ? 'hear' : 'drop';
    }
    if (isKnown) return 'hear-known';
    return hasPlace() && bucketOf(this.#bySource, source).take(now) && this.#total.take(now)
      ? 'hear-admitted'
      : 'drop';
  }
}

function bucketOf(buckets: LRUCache<string, TokenBucket>, source: string): TokenBucket {
  let bucket = buckets.get(source);
  if (bucket === undefined) {
    bucket = new TokenBucket(PER_SOURCE);
    buckets.set(source, bucket);
  }
  return bucket;
}
