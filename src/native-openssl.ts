/** Handle of a private P-256 key. */
export interface NativeEs256Key {
  readonly es256: unique symbol;
}

/** Handle of a private X25519 key. */
export interface NativeX25519 {
  readonly x25519: unique symbol;
}

/** What native/js_curves.c exports: curves of the OpenSSL in the running Node.js (docs/decisions/0075). */
export interface NativeOpenssl {
  /** Whether this Node.js offers the functions of OpenSSL that the following seven call; otherwise they throw. */
  hasCurves(): boolean;
  /** Whether x ‖ y is a point of P-256. */
  p256IsPoint(point: Uint8Array): boolean;
  /** @param signature r ‖ s */
  es256Verify(point: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean;
  /** @param scalar of a private key that was checked, 32 bytes */
  es256Key(scalar: Uint8Array): NativeEs256Key;
  /** @param signature r ‖ s, is written. @returns whether it was */
  es256Sign(own: NativeEs256Key, bytes: Uint8Array, signature: Uint8Array): boolean;
  /** @param publicKey is written */
  x25519Generate(publicKey: Uint8Array): NativeX25519;
  /** @returns whether `out` was written; not for a peer's key of small order */
  x25519Derive(
    own: NativeX25519,
    peer: Uint8Array,
    salt: Uint8Array,
    info: Uint8Array,
    out: Uint8Array,
  ): boolean;
}
