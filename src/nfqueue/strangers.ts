import { LRUCache } from 'lru-cache';
import { decodeFrame, helloAdmissionInput } from '../handshake/frames.ts';
import { CONTEXT, mac, macEquals } from '../handshake/key-schedule.ts';
import { TokenBucket } from './token-bucket.ts';

/** Full handshakes a second: so many in all, so many from one address. A core does about three thousand. */
const TOTAL = { perSecond: 2_000, burst: 2_000 };
const PER_SOURCE = { perSecond: 300, burst: 600 };
/** Hellos that nobody here could have made: so many a second are answered and recorded, the others are dropped. */
const UNADMITTED = { perSecond: 100, burst: 100 };
const MAX_SOURCES = 4_096;

/** What is done with a Hello in a SYN before it costs anything. */
export type Admission = 'hear' | 'drop';

/** What is asked about a Hello. */
export interface AdmissionQuestion {
  readonly hello: Uint8Array;
  readonly source: string;
  readonly admissionKeys: readonly Uint8Array[];
  /** Whether a session is known here. */
  readonly knowsSession: (id: Uint8Array) => boolean;
}

/**
 * Cheap before dear, for SYNs: anybody can send them, with any source. A Hello without a right admission MAC costs one hash; one that resumes a known
 * session is always heard, so that a flood of strangers does not touch those who were here before; of the rest there are only so many a second. What
 * is dropped comes again, since TCP repeats its SYN.
 */
export class Strangers {
  readonly #total = new TokenBucket(TOTAL);
  readonly #unadmitted = new TokenBucket(UNADMITTED);
  readonly #bySource = new LRUCache<string, TokenBucket>({ max: MAX_SOURCES });
  /** Hellos that were dropped. */
  dropped = 0;

  /** @param now monotonic milliseconds */
  admit(question: AdmissionQuestion, now: number): Admission {
    if (this.#isHeard(question, now)) return 'hear';
    this.dropped++;
    return 'drop';
  }

  #isHeard({ hello, source, admissionKeys, knowsSession }: AdmissionQuestion, now: number): boolean {
    const frame = decodeFrame(hello);
    if (frame.type !== 'hello') return this.#unadmitted.take(now);
    const input = helloAdmissionInput(hello);
    const admitted = admissionKeys.some((key) =>
      macEquals(mac(key, CONTEXT.admission, [input]), frame.admission),
    );
    if (!admitted) return this.#unadmitted.take(now);
    if (frame.offers.some(({ sessionId }) => knowsSession(sessionId))) return true;
    let bucket = this.#bySource.get(source);
    if (bucket === undefined) {
      bucket = new TokenBucket(PER_SOURCE);
      this.#bySource.set(source, bucket);
    }
    return bucket.take(now) && this.#total.take(now);
  }
}
