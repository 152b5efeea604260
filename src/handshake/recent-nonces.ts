const GENERATION = 8_192;

/**
 * The client nonces of handshakes that completed lately. A replayed full Hello fails anyway, since its Proof cannot be made again;
 * this set only tells it apart early and under its own name. Keeps at least the last 8,192, at most twice that, 6 bytes of each.
 */
export class RecentNonces {
  #current = new Set<number>();
  #previous = new Set<number>();

  add(nonce: Uint8Array): void {
    if (this.#current.size >= GENERATION) {
      this.#previous = this.#current;
      this.#current = new Set();
    }
    this.#current.add(prefixOf(nonce));
  }

  has(nonce: Uint8Array): boolean {
    const prefix = prefixOf(nonce);
    return this.#current.has(prefix) || this.#previous.has(prefix);
  }
}

function prefixOf(nonce: Uint8Array): number {
  let value = 0;
  for (let index = 0; index < 6; index++) value = value * 256 + (nonce[index] ?? 0);
  return value;
}
