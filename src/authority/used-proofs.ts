import { LRUCache } from 'lru-cache';
import type { VerifiedProof } from '../authority-protocol/request-proof.ts';

/** How long a proof's nonce is remembered: longer than a proof counts. */
const KEPT_MS = 125_000;

/** The proofs that this replica has seen: each counts once. */
export class UsedProofs {
  readonly #seen = new LRUCache<string, true>({ max: 200_000, ttl: KEPT_MS });

  /** @returns whether it is the first time; from now on it is not */
  use({ thumbprint, nonce }: VerifiedProof): boolean {
    const name = `${thumbprint} ${nonce}`;
    if (this.#seen.has(name)) return false;
    this.#seen.set(name, true);
    return true;
  }
}
