import { CLOCK_SKEW, MAX_LIFETIME } from './claims.ts';

/** More pods than one sidecar ever hears of; each mark is a few dozen bytes. */
const MOST_MARKS = 16_384;

/**
 * Not-before marks by pod uid: tokens issued before the mark are dead, though their end has not come. Marks outlive the trust bundle in
 * force, and end when the last token that they could kill has ended by itself.
 */
export class Revocations {
  readonly #marks = new Map<string, number>();

  get size(): number {
    return this.#marks.size;
  }

  /**
   * Kills every token of the pod that was issued before `issuedAt`. A mark never goes back.
   * @param issuedAt seconds since the epoch
   * Throws a `RangeError` when there are so many living marks that one more would mean forgetting one.
   */
  revokeBefore(podUid: string, issuedAt: number, nowSeconds: number): void {
    const known = this.#marks.get(podUid);
    if (known !== undefined && known >= issuedAt) return;
    if (known === undefined && this.#marks.size >= MOST_MARKS) this.#dropEnded(nowSeconds);
    if (known === undefined && this.#marks.size >= MOST_MARKS) {
      throw new RangeError(`more than ${MOST_MARKS} pods with revoked tokens`);
    }
    this.#marks.set(podUid, issuedAt);
  }

  /** The mark that kills a token of this pod issued then; undefined when it lives. */
  markOver(podUid: string, issuedAt: number): number | undefined {
    const mark = this.#marks.get(podUid);
    return mark !== undefined && issuedAt < mark ? mark : undefined;
  }

  #dropEnded(nowSeconds: number): void {
    for (const [podUid, mark] of this.#marks) {
      if (mark + MAX_LIFETIME + CLOCK_SKEW < nowSeconds) this.#marks.delete(podUid);
    }
  }
}
