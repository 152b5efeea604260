import type { Randomness } from '../handshake/ephemeral.ts';
import type { EphemeralKey } from '../lib/curves.ts';

/** What waits to be used again at most; the oldest goes first. */
const MOST_KEYS = 4_096;
/** A key is in no Hello that is sent later than this after its first one, milliseconds. */
const MAX_AGE_MS = 30_000;

/**
 * Ephemeral keys of Hellos that offer sessions (decision 52). The server takes up a session nearly always, and then nobody asks for the private half:
 * such a key goes into the next Hello to the same address. Once a private half was asked for, its key is in no Hello any more.
 */
export class HelloKeys {
  readonly #takeKey: () => EphemeralKey;
  /** By destination, the oldest first. */
  readonly #kept = new Map<string, { readonly key: EphemeralKey; readonly madeAt: number }>();

  /** @param takeKey gives a key that nobody else gets */
  constructor(takeKey: () => EphemeralKey) {
    this.#takeKey = takeKey;
  }

  get size(): number {
    return this.#kept.size;
  }

  /**
   * What a Hello with offers goes with.
   * @param nonce of this Hello alone
   * @param now monotonic milliseconds
   */
  randomness(address: string, nonce: Uint8Array, now: number): Randomness {
    const key = this.#keyFor(address, now);
    const spent = (): void => {
      if (this.#kept.get(address)?.key === key) this.#kept.delete(address);
    };
    return {
      nonce,
      publicKey: key.publicKey,
      get privateKey() {
        spent();
        return key.privateKey;
      },
    };
  }

  /** Forgets what is too old to be used. */
  dropOld(now: number): void {
    for (const [address, { madeAt }] of this.#kept) {
      if (now - madeAt < MAX_AGE_MS) return;
      this.#kept.delete(address);
    }
  }

  #keyFor(address: string, now: number): EphemeralKey {
    this.dropOld(now);
    const kept = this.#kept.get(address);
    if (kept !== undefined) return kept.key;
    const [oldest] = this.#kept.keys();
    if (oldest !== undefined && this.#kept.size >= MOST_KEYS) this.#kept.delete(oldest);
    const key = this.#takeKey();
    this.#kept.set(address, { key, madeAt: now });
    return key;
  }
}
