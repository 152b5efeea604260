import type { OwnCredentials } from '../handshake/credentials.ts';
import type { Curves } from '../lib/curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import { UserError } from '../errors.ts';
import { toCompact } from './compact.ts';
import type { OwnKey } from './keys.ts';
import type { Trust } from './trust-in-force.ts';
import type { ProvenIdentity } from './verify.ts';

/** Own token and own key, which belong together: what handshakes present until the next pair replaces it. */
export class IdentityState {
  readonly own: ProvenIdentity;
  readonly #credentials: OwnCredentials;
  readonly #ownAdmissionKey: Uint8Array;

  /**
   * @param token the own token as it goes over the wire
   * @param now seconds since the epoch
   * @param curves sign with the key
   * Throws a `UserError` when token and key do not belong together, or the token would be refused by the own trust.
   */
  constructor(
    token: Uint8Array,
    key: Pick<OwnKey, 'privateKey' | 'publicKey'>,
    trust: Trust,
    now: number,
    curves: Curves = NODE_CURVES,
  ) {
    const verified = trust.verify(token, now);
    if ('refusal' in verified) {
      throw new UserError(
        `the own token is not accepted (${verified.refusal.reason}): ${verified.refusal.detail}`,
      );
    }
    this.own = verified.identity;
    if (this.own.foreignDomain !== undefined) {
      throw new UserError(
        `the own token is of ${this.own.foreignDomain}, which is federated and not the own trust domain`,
      );
    }
    if (this.own.key.x !== key.publicKey.x || this.own.key.y !== key.publicKey.y) {
      throw new UserError(
        'the key file does not hold the key that the token names: were both written by one issue?',
      );
    }
    this.#ownAdmissionKey = trust.admissionKey(this.own.issuerKeyId)!;
    this.#credentials = {
      token,
      privateKey: curves.signingKeyOf(key.privateKey),
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
}

/** The wire form of the own token. Throws a `UserError` for a text that is none. */
export function ownToken(jwt: string): Uint8Array {
  try {
    return toCompact(jwt.trim());
  } catch {
    throw new UserError('the token file holds no JWT');
  }
}
