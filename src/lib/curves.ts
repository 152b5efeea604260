import type { KeyObject } from 'node:crypto';

/** A public key of ES256 (RFC 7518 section 3.4). */
export interface VerifyingKey {
  /**
   * Whether the holder of the private half signed `data`.
   * @param signature any bytes; what is not r ‖ s of 32 bytes each is no signature
   */
  verify(data: Uint8Array, signature: Uint8Array): boolean;
}

/** A private key of ES256. */
export interface SigningKey {
  /** Signs `data`. @returns r ‖ s, 32 bytes each. Throws when there are no random numbers. */
  sign(data: Uint8Array): Uint8Array;
}

/** A private X25519 key (RFC 7748). */
export interface AgreementKey {
  /**
   * HKDF-SHA-256 (RFC 5869) of the secret that both sides agree on.
   * @param peer the raw public key of the other side, 32 bytes
   * @param salt at most 64 bytes
   * @returns undefined for a key that forces a secret of zeros (RFC 7748 section 6.1)
   */
  derive(peer: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number): Uint8Array | undefined;
}

/** A key pair for one handshake, never for another. */
export interface EphemeralKey {
  readonly privateKey: AgreementKey;
  /** The raw 32 bytes of the X25519 public key. */
  readonly publicKey: Uint8Array;
}

/** The elliptic curves of handshake v1. Two implementations: `node-curves.ts` serves everywhere, `native-curves.ts` is the cheaper one. */
export interface Curves {
  /** Of the coordinates of a JWK (RFC 7518 section 6.2.1). Throws when they are no point of P-256. */
  verifyingKey(x: string, y: string): VerifyingKey;
  /** Of a public P-256 key. */
  verifyingKeyOf(key: KeyObject): VerifyingKey;
  /** Of a private P-256 key. */
  signingKeyOf(key: KeyObject): SigningKey;
  /** A new key pair. */
  readonly generateEphemeral: () => EphemeralKey;
}
