import { LIMITS } from '../authority-protocol/limits.ts';
import type { PeerInterest } from '../authority-protocol/messages.ts';

/** What a sidecar asks at once. */
export interface Questions {
  readonly addresses: readonly string[];
  readonly peers: readonly PeerInterest[];
  /** Addresses and uids; they go before what is asked about comes. */
  readonly drop: readonly string[];
}

/** Questions that came one after the other, as one that means the same. */
export class PendingQuestions {
  #addresses = new Set<string>();
  #peers = new Map<string, PeerInterest>();
  #drop = new Set<string>();

  add({ addresses, peers, drop }: Questions): void {
    for (const one of drop) {
      this.#addresses.delete(one);
      this.#peers.delete(one);
      this.#drop.add(one);
    }
    for (const one of addresses) this.#addresses.add(one);
    for (const peer of peers) this.#peers.set(peer.uid, peer);
  }

  /** More than a stream may be about, so that what waits is bounded. */
  get tooMany(): boolean {
    // Whoever drops can drop what he has: as many as he may ask about, of both kinds.
    const dropped = this.#drop.size > 4 * LIMITS.interests;
    return dropped || this.#addresses.size > LIMITS.interests || this.#peers.size > LIMITS.interests;
  }

  /** What was asked since the last time. */
  take(): Questions {
    const all = { addresses: [...this.#addresses], peers: [...this.#peers.values()], drop: [...this.#drop] };
    this.#addresses = new Set();
    this.#peers = new Map();
    this.#drop = new Set();
    return all;
  }
}
