import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { importPublicJwk } from '../lib/public-key.ts';
import { drawNonce } from './nonces.ts';

/** A key pair for one handshake, never for another. */
export interface EphemeralKey {
  readonly privateKey: KeyObject;
  /** The raw 32 bytes of the X25519 public key. */
  readonly publicKey: Uint8Array;
}

/** What a side draws at random for one handshake. Made outside the machine, so that the machine is a function of its inputs. */
export interface Randomness extends EphemeralKey {
  readonly nonce: Uint8Array;
}

/**
 * Draws a nonce, and an ephemeral key when it is first asked for: a server that resumes a session needs none.
 * @param takeKey gives a key that nobody else gets
 */
export function drawRandomness(takeKey: () => EphemeralKey = generateEphemeral): Randomness {
  let key: EphemeralKey | undefined;
  return {
    nonce: drawNonce(),
    get privateKey() {
      return (key ??= takeKey()).privateKey;
    },
    get publicKey() {
      return (key ??= takeKey()).publicKey;
    },
  };
}

/** A new X25519 key pair. */
export function generateEphemeral(): EphemeralKey {
  const pair = generateKeyPairSync('x25519');
  // As a JWK: DER goes through OpenSSL's encoders, which takes as long as making the key.
  const { x } = pair.publicKey.export({ format: 'jwk' });
  return { privateKey: pair.privateKey, publicKey: Buffer.from(x!, 'base64url') };
}

/** A raw X25519 public key as a key object. Every 32 bytes are one (RFC 7748); weak ones are refused at key agreement. */
export function importEphemeral(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString('base64url');
  return importPublicJwk({ kty: 'OKP', crv: 'X25519', x });
}
