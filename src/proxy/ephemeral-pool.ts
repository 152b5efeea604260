import type { EphemeralKey } from '../lib/curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';

/** Keys made ahead: about as many handshakes as an ordinary pod has between two pauses. */
export const MOST_KEYS = 16;
/** Older than this, milliseconds, no key is used: what is in memory for long can be taken from there. */
export const MAX_AGE_MS = 30_000;
/** A moment without handshakes, milliseconds; then so many keys are made at once. */
const PAUSE_MS = 2;
const AT_ONCE = 4;

/**
 * Ephemeral keys made in pauses, so that a handshake does not wait for its own. Each is given away once. Without a pause there is no pool: a
 * key is made when it is asked for. A sidecar with nothing to do keeps no keys, and nothing wakes it to make some.
 */
export class EphemeralPool {
  /** The oldest first. */
  #keys: { readonly key: EphemeralKey; readonly madeAt: number }[] = [];
  readonly #now: () => number;
  #takenLately = false;
  #refilling = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  readonly #generate: () => EphemeralKey;

  /**
   * @param now monotonic milliseconds
   * @param generate makes a key
   */
  constructor(
    now: () => number = () => performance.now(),
    generate: () => EphemeralKey = NODE_CURVES.generateEphemeral,
  ) {
    this.#now = now;
    this.#generate = generate;
  }

  /** How many keys are ready. */
  get size(): number {
    return this.#keys.length;
  }

  /** A key that nobody else got or will get. */
  readonly take = (): EphemeralKey => {
    this.#takenLately = true;
    if (!this.#refilling) this.#later(PAUSE_MS);
    this.#refilling = true;
    this.#dropOld();
    return this.#keys.shift()?.key ?? this.#generate();
  };

  /** Forgets what is there and makes no more. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#keys = [];
  }

  /** In a pause makes some keys, until there are enough; comes back when nobody took them, to forget them. */
  #tend(): void {
    this.#dropOld();
    if (this.#refilling) {
      for (let made = 0; made < AT_ONCE && !this.#takenLately && this.#keys.length < MOST_KEYS; made++) {
        this.#keys.push({ key: this.#generate(), madeAt: this.#now() });
      }
      this.#takenLately = false;
      this.#refilling = this.#keys.length < MOST_KEYS;
    }
    if (this.#refilling) this.#later(PAUSE_MS);
    else if (this.#keys.length > 0) this.#later(MAX_AGE_MS);
  }

  #dropOld(): void {
    const oldest = this.#now() - MAX_AGE_MS;
    while (this.#keys[0] !== undefined && this.#keys[0].madeAt <= oldest) this.#keys.shift();
  }

  #later(afterMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => this.#tend(), afterMs).unref();
  }
}
