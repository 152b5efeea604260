import { networkInterfaces } from 'node:os';
import { canonicalAddress } from '../lib/address.ts';

const REFRESH_MS = 1_000;

/**
 * Whether an address belongs to an interface of this network namespace. Asked for every inbound connection, read anew at most
 * once a second: REDIRECT also hands over what a neighbour sent for foreign addresses, and the proxy is nobody's relay.
 */
export class LocalAddresses {
  #addresses = new Set<string>();
  #readAt = Number.NEGATIVE_INFINITY;

  has(address: string): boolean {
    if (this.#addresses.has(address)) return true;
    const now = performance.now();
    if (now - this.#readAt < REFRESH_MS) return false;
    this.#readAt = now;
    this.#addresses = read();
    return this.#addresses.has(address);
  }
}

function read(): Set<string> {
  const found = new Set<string>();
  for (const entries of Object.values(networkInterfaces())) {
    for (const entry of entries ?? []) {
      const address = canonicalAddress(entry.address);
      if (address !== undefined && !entry.internal) found.add(address);
    }
  }
  return found;
}
