import { type KeyObject, sign, verify } from 'node:crypto';

/**
 * ES256 (RFC 7518 section 3.4: ECDSA on P-256 with SHA-256, the signature as r ‖ s of 32 bytes each), synchronous.
 *
 * Node.js makes and reads this form itself (`dsaEncoding: 'ieee-p1363'`), but then asks OpenSSL for the whole key anew, each time: 24 of 46 us
 * of a signature, 25 of 87 of a verification. Between r ‖ s and the DER of RFC 3279 section 2.2.3 lie a few bytes that are as easily moved here.
 */

const COORDINATE_BYTES = 32;
/** Bytes of a signature. */
export const ES256_BYTES = 2 * COORDINATE_BYTES;

/**
 * Signs with a private P-256 key.
 * @returns r ‖ s
 */
export function signEs256(privateKey: KeyObject, data: Uint8Array): Uint8Array {
  return rawOf(sign('sha256', data, privateKey));
}

/**
 * Whether the holder of a P-256 key signed `data`. `signature` may be any bytes; what is not r ‖ s is no signature.
 * @param publicKey one that is known to be on P-256: another kind of key would mean another algorithm
 */
export function verifyEs256(publicKey: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === ES256_BYTES && verify('sha256', data, publicKey, derOf(signature));
}

/** SEQUENCE of two INTEGERs to r ‖ s. Reads only what OpenSSL has just written. */
function rawOf(der: Uint8Array): Uint8Array {
  const raw = new Uint8Array(ES256_BYTES);
  let offset = 2;
  for (const end of [COORDINATE_BYTES, ES256_BYTES]) {
    const length = der[offset + 1]!;
    // A leading zero tells a high first bit from a sign, and no zeros lead otherwise.
    const digits = der.subarray(offset + 2 + Math.max(0, length - COORDINATE_BYTES), offset + 2 + length);
    raw.set(digits, end - digits.length);
    offset += 2 + length;
  }
  return raw;
}

/** r ‖ s to the one DER that it has: the shortest INTEGERs, with a zero before a high bit. */
function derOf(raw: Uint8Array): Uint8Array {
  const [r, s] = [firstDigit(raw, 0), firstDigit(raw, COORDINATE_BYTES)];
  const [rBytes, sBytes] = [COORDINATE_BYTES - r, ES256_BYTES - s];
  const [rPad, sPad] = [raw[r]! >> 7, raw[s]! >> 7];
  const der = new Uint8Array(6 + rPad + rBytes + sPad + sBytes);
  der[0] = 0x30;
  der[1] = der.length - 2;
  der[2] = 0x02;
  der[3] = rPad + rBytes;
  der.set(raw.subarray(r, COORDINATE_BYTES), 4 + rPad);
  const at = 4 + rPad + rBytes;
  der[at] = 0x02;
  der[at + 1] = sPad + sBytes;
  der.set(raw.subarray(s), at + 2 + sPad);
  return der;
}

/** Where the number that starts at `from` has its first digit that is not zero; its last one if there is none. */
function firstDigit(raw: Uint8Array, from: number): number {
  let at = from;
  while (raw[at] === 0 && at < from + COORDINATE_BYTES - 1) at++;
  return at;
}
