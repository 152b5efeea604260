import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { NONCE_BYTES } from './frame-types.ts';

/** What a side draws at random for one handshake. Made outside the machine, so that the machine is a function of its inputs. */
export interface Randomness {
  readonly nonce: Uint8Array;
  readonly privateKey: KeyObject;
  /** The raw 32 bytes of the X25519 public key. */
  readonly publicKey: Uint8Array;
}

/** SubjectPublicKeyInfo of an X25519 key up to the key itself (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');

/** Draws nonce and ephemeral key. */
export function drawRandomness(): Randomness {
  const pair = generateKeyPairSync('x25519');
  const spki = pair.publicKey.export({ format: 'der', type: 'spki' });
  return {
    nonce: randomBytes(NONCE_BYTES),
    privateKey: pair.privateKey,
    publicKey: spki.subarray(SPKI_PREFIX.length),
  };
}

/** A raw X25519 public key as a key object. Every 32 bytes are one (RFC 7748); weak ones are refused at key agreement. */
export function importEphemeral(raw: Uint8Array): KeyObject {
  return createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(raw).toString('base64url') },
    format: 'jwk',
  });
}
