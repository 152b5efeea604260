import { LIMITS } from '../authority-protocol/limits.ts';
import type { PeerInterest } from '../authority-protocol/messages.ts';

/** What became of a new question: others may have to make room. */
export interface Asked {
  readonly asked: boolean;
  readonly dropped: readonly string[];
}

const NOTHING_NEW: Asked = { asked: false, dropped: [] };

/**
 * What this sidecar wants to know, bounded: the questions that were not asked for longest make room. Addresses outside the cluster's networks have a smaller
 * room of their own, so that clients from everywhere do not push out the pods that this one talks to.
 */
export class Questions {
  readonly #inside = new Map<string, true>();
  readonly #outside = new Map<string, true>();
  readonly #peers = new Map<string, PeerInterest>();
  readonly #room: { readonly inside: number; readonly outside: number; readonly peers: number };

  constructor(room = { inside: LIMITS.interests - 1_024, outside: 1_024, peers: LIMITS.interests }) {
    this.#room = room;
  }

  get addresses(): string[] {
    return [...this.#inside.keys(), ...this.#outside.keys()];
  }

  get peers(): PeerInterest[] {
    return [...this.#peers.values()];
  }

  askAddress(address: string, inside: boolean): Asked {
    const [map, other] = inside ? [this.#inside, this.#outside] : [this.#outside, this.#inside];
    if (other.has(address)) return NOTHING_NEW;
    return remember(map, address, true, inside ? this.#room.inside : this.#room.outside);
  }

  askPeer(peer: PeerInterest): Asked {
    return remember(this.#peers, peer.uid, peer, this.#room.peers);
  }
}

function remember<V>(map: Map<string, V>, key: string, value: V, most: number): Asked {
  const known = map.delete(key);
  map.set(key, value);
  if (known) return NOTHING_NEW;
  const dropped: string[] = [];
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
    dropped.push(oldest);
  }
  return { asked: true, dropped };
}
