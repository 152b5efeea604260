import type { SigningKey, VerifyingKey } from '../lib/curves.ts';

/** What a side needs of its own identity to take part in a handshake. */
export interface OwnCredentials {
  /** The token as it goes over the wire. */
  readonly token: Uint8Array;
  /** Private half of the key that the token names in `cnf`. */
  readonly privateKey: SigningKey;
  /** End of the token, seconds since the epoch. */
  readonly expiresAt: number;
  readonly podUid: string;
}

/** What a handshake needs of a verified token; an implementation hands its whole identity through it. */
export interface PeerIdentity {
  readonly publicKey: VerifyingKey;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  readonly podUid: string;
}

/** Why a token is not accepted. */
export interface TokenRefusal {
  readonly reason:
    'token-malformed' | 'token-untrusted' | 'token-expired' | 'token-not-yet-valid' | 'foreign-domain';
  readonly detail: string;
}

/** The judge of tokens: signature, trust domain and times; cached by the exact bytes. */
export type VerifyToken<I extends PeerIdentity> = (
  token: Uint8Array,
) => { readonly identity: I } | { readonly refusal: TokenRefusal };
