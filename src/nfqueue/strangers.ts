import { LRUCache } from 'lru-cache';
import { decodeFrame } from '../handshake/frames.ts';
import type { Hello } from '../handshake/frame-types.ts';
import { isAdmitted } from '../handshake/server.ts';
import { TokenBucket } from './token-bucket.ts';

/** Full handshakes a second: so many in all, so many from one address. A core does about three thousand. */
const TOTAL = { perSecond: 2_000, burst: 2_000 };
const PER_SOURCE = { perSecond: 300, burst: 600 };
/** Hellos that nobody here could have made: so many a second are answered and recorded, the others are dropped. */
const UNADMITTED = { perSecond: 100, burst: 100 };
const MAX_SOURCES = 4_096;

/** What is done with a Hello in a SYN before it costs anything; `hear-admitted`: its admission MAC is right. */
export type Admission = 'hear-admitted' | 'hear' | 'drop';

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
    const { hello, admissionKeys } = question;
    const frame = decodeFrame(hello);
    const admitted = frame.type === 'hello' && isAdmitted(frame, hello, admissionKeys);
    const heard = admitted ? this.#isHeard(frame, question, now) : this.#unadmitted.take(now);
    if (!heard) this.dropped++;
    if (!heard) return 'drop';
    return admitted ? 'hear-admitted' : 'hear';
  }

  #isHeard(frame: Hello, { source, knowsSession }: AdmissionQuestion, now: number): boolean {
    if (frame.offers.some(({ sessionId }) => knowsSession(sessionId))) return true;
    let bucket = this.#bySource.get(source);
    if (bucket === undefined) {
      bucket = new TokenBucket(PER_SOURCE);
      this.#bySource.set(source, bucket);
    }
    return bucket.take(now) && this.#total.take(now);
  }
}
