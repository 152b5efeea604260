import { LRUCache } from 'lru-cache';
import type { Endpoint } from '../lib/address.ts';

/** For so long a server that did not understand the preamble is not sent another one. */
const REMEMBERED_MS = 5_000;

/** Servers that answered a preamble with something else a moment ago: asking again at once would break their protocol again. */
export class SilentPeerMemory {
  readonly #servers = new LRUCache<string, true>({
    maxSize: 4_096,
    sizeCalculation: () => 1,
    ttl: REMEMBERED_MS,
  });

  has(server: Endpoint): boolean {
    return this.#servers.has(keyOf(server));
  }

  add(server: Endpoint): void {
    this.#servers.set(keyOf(server), true);
  }
}

/** One port of a pod may be left out of redirection while all the others prove themselves. */
function keyOf({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
