import { LRUCache } from 'lru-cache';

/** For so long a server that did not understand the preamble is not sent another one. */
const REMEMBERED_MS = 5_000;

/** Servers that answered a preamble with something else a moment ago: asking again at once would break their protocol again. */
export class SilentPeerMemory {
  readonly #addresses = new LRUCache<string, true>({ max: 4_096, ttl: REMEMBERED_MS });

  has(address: string): boolean {
    return this.#addresses.has(address);
  }

  add(address: string): void {
    this.#addresses.set(address, true);
  }
}
