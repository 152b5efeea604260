import type { OwnCredentials, TokenRefusal } from '../handshake/credentials.ts';
import { fromCompact, toCompact } from './compact.ts';
import type { OwnKey } from './keys.ts';
import { admissionKey, type TrustBundle } from './trust.ts';
import { type ProvenIdentity, TokenVerifier, type Verification } from './verify.ts';
import { UserError } from '../errors.ts';

/** How many Hellos a second may cost a signature only to tell their sender's fault exactly. */
const EXPLAINED_PER_SECOND = 50;

/**
 * One consistent set of own token, own key and trust in others: what handshakes use until the next set replaces it. Unchanging but for
 * its caches.
 */
export class IdentityState {
  readonly own: ProvenIdentity;
  readonly #credentials: OwnCredentials;
  readonly #verifier: TokenVerifier;
  readonly #ownAdmissionKey: Uint8Array;
  readonly #admissionKeys: readonly Uint8Array[];
  #explained = { second: 0, count: 0 };

  /**
   * @param jwt the own token
   * @param now seconds since the epoch
   * Throws a `UserError` when the parts do not belong together, or the own token would be refused by its own bundle.
   */
  constructor(jwt: string, key: OwnKey, bundle: TrustBundle, now: number) {
    let token: Uint8Array;
    try {
      token = toCompact(jwt.trim());
    } catch {
      throw new UserError('the token file holds no JWT');
    }
    this.#verifier = new TokenVerifier(bundle);
    const verified = this.#verifier.verify(token, now);
    if ('refusal' in verified) {
      throw new UserError(
        `the own token is not accepted (${verified.refusal.reason}): ${verified.refusal.detail}`,
      );
    }
    this.own = verified.identity;
    if (this.own.key.x !== key.publicKey.x || this.own.key.y !== key.publicKey.y) {
      throw new UserError(
        'the key file does not hold the key that the token names: were both written by one issue?',
      );
    }
    const { kid } = JSON.parse(fromCompact(token)!.header) as { kid: string };
    this.#ownAdmissionKey = admissionKey(bundle, kid)!;
    this.#admissionKeys = [...bundle.keys.keys()].map((id) => admissionKey(bundle, id)!);
    this.#credentials = {
      token,
      privateKey: key.privateKey,
      expiresAt: this.own.expiresAt,
      podUid: this.own.podUid,
    };
  }

  /** undefined past the own token's end. */
  credentials(now: number): OwnCredentials | undefined {
    return now < this.own.expiresAt ? this.#credentials : undefined;
  }

  ownAdmissionKey(): Uint8Array {
    return this.#ownAdmissionKey;
  }

  admissionKeys(): readonly Uint8Array[] {
    return this.#admissionKeys;
  }

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
