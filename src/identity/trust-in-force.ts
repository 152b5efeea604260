import type { TokenRefusal } from '../handshake/credentials.ts';
import { fromCompact } from './compact.ts';
import { domainAt } from './federation.ts';
import { stillFederated } from './foreign-identity.ts';
import type { Revocations } from './revocations.ts';
import { admissionKey, type TrustBundle } from './trust.ts';
import { TokenVerifier, type Verification } from './verify.ts';

/** How many Hellos a second may cost a signature only to tell their sender's fault exactly. */
const EXPLAINED_PER_SECOND = 50;

/** Who is believed: a trust bundle with the judge and the admission keys made of it. Unchanging but for its caches. */
export class TrustInForce {
  readonly bundle: TrustBundle;
  readonly admissionKeys: readonly Uint8Array[];
  readonly #verifier: TokenVerifier;
  #explained = { second: 0, count: 0 };

  constructor(bundle: TrustBundle, revocations?: Revocations) {
    this.bundle = bundle;
    this.#verifier = new TokenVerifier(bundle, revocations);
    const domains = [bundle, ...(bundle.federation?.values() ?? [])];
    this.admissionKeys = domains.flatMap(({ keys }) =>
      [...keys.keys()].map((id) => admissionKey({ algorithm: bundle.algorithm, keys }, id)!),
    );
  }

  /** Whether the key that signed an identity, and what was made of it if it is of another domain, is believed now. */
  believes(issuerKeyId: string, foreignDomain: string | undefined, now: number): boolean {
    const { keys, federation } = this.bundle;
    if (foreignDomain === undefined) return keys.has(issuerKeyId);
    return federation !== undefined && stillFederated(federation, issuerKeyId, now);
  }

  /** The other domain in whose networks an address lies, whether anybody of it is believed or not. */
  domainAt(address: string): string | undefined {
    const { federation } = this.bundle;
    return federation && domainAt(federation, address);
  }

  /** When the first of the other domains ceases to be believed by itself, seconds since the epoch. */
  get changesAt(): number | undefined {
    const ends = [...(this.bundle.federation?.values() ?? [])].flatMap(({ validUntil }) => validUntil ?? []);
    return ends.length === 0 ? undefined : Math.min(...ends);
  }

  /** @param now seconds since the epoch */
  verify(token: Uint8Array, now: number): Verification {
    return this.#verifier.verify(token, now);
  }

  /** Why a Hello without a right admission MAC is refused: exactly, as long as few ask. */
  explainUnadmitted(token: Uint8Array, now: number): TokenRefusal {
    const second = Math.floor(now);
    if (this.#explained.second !== second) this.#explained = { second, count: 0 };
    if (++this.#explained.count <= EXPLAINED_PER_SECOND) {
      const parts = fromCompact(token);
      if (parts === undefined) return { reason: 'token-malformed', detail: 'no compact token' };
      const verified = this.#verifier.verify(token, now);
      if ('refusal' in verified) return verified.refusal;
    }
    return {
      reason: 'token-untrusted',
      detail: 'the Hello was not made with an admission key of this trust domain',
    };
  }
}
