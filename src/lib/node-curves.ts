import { createSecretKey, diffieHellman, generateKeyPairSync, hkdfSync, type KeyObject } from 'node:crypto';
import type { AgreementKey, Curves, VerifyingKey } from './curves.ts';
import { signEs256, verifyEs256 } from './es256.ts';
import { importPublicJwk } from './public-key.ts';

/** The curves by `node:crypto` alone. */
export const NODE_CURVES: Curves = {
  verifyingKey: (x, y) => verifyingKeyOf(importPublicJwk({ kty: 'EC', crv: 'P-256', x, y })),
  verifyingKeyOf,
  signingKeyOf: (key) => ({ sign: (data) => signEs256(key, data) }),
  generateEphemeral() {
    const pair = generateKeyPairSync('x25519');
    // As a JWK: DER goes through OpenSSL's encoders, which takes as long as making the key.
    const { x } = pair.publicKey.export({ format: 'jwk' });
    return { privateKey: agreementKeyOf(pair.privateKey), publicKey: Buffer.from(x!, 'base64url') };
  },
};

function verifyingKeyOf(key: KeyObject): VerifyingKey {
  return { verify: (data, signature) => verifyEs256(key, data, signature) };
}

/** A private X25519 key object as what agrees on keys. */
export function agreementKeyOf(own: KeyObject): AgreementKey {
  return {
    derive(peer, salt, info, bytes) {
      let secret: Uint8Array;
      try {
        secret = diffieHellman({ privateKey: own, publicKey: importX25519(peer) });
      } catch {
        return undefined; // OpenSSL refuses the small-order points itself
      }
      if (secret.every((byte) => byte === 0)) return undefined;
      // As a KeyObject: of plain bytes Node.js 24 finds out by two errors that they are none, which costs as much again.
      return new Uint8Array(hkdfSync('sha256', createSecretKey(secret), salt, info, bytes));
    },
  };
}

/** A raw X25519 public key as a key object. Every 32 bytes are one (RFC 7748); weak ones are refused at key agreement. */
function importX25519(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString('base64url');
  return importPublicJwk({ kty: 'OKP', crv: 'X25519', x });
}
