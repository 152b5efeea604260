import type { KeyObject } from 'node:crypto';
import type { NativeEs256Key, NativeOpenssl, NativeX25519 } from '../native-openssl.ts';
import type { AgreementKey, Curves, SigningKey, VerifyingKey } from './curves.ts';
import { carvedBytes } from './carved-bytes.ts';
import { ES256_BYTES } from './es256.ts';
import { NODE_CURVES } from './node-curves.ts';

const COORDINATE_BYTES = 32;
const SCALAR_BYTES = 32;
const X25519_BYTES = 32;
/**
 * Where the addon writes a public key. A small array of its own lies in the heap of JavaScript; an addon that looks into it makes V8 give it memory outside, which the
 * collector has to look after. One with an ArrayBuffer is outside already.
 */
const GENERATED = new Uint8Array(new ArrayBuffer(X25519_BYTES));
/** The same for a signature. */
const SIGNED = new Uint8Array(new ArrayBuffer(ES256_BYTES));

/**
 * The curves by the OpenSSL of the running Node.js, without the objects that `node:crypto` makes for each key, each job and each result: those cost as much as
 * a third of the cryptography of a first contact. @returns undefined where Node.js does not offer its OpenSSL, or another one than is expected
 */
export function nativeCurves(addon: NativeOpenssl): Curves | undefined {
  return addon.hasCurves() && worksAsExpected(addon) ? curvesOf(addon) : undefined;
}

function curvesOf(addon: NativeOpenssl): Curves {
  const verifyingKey = (x: string, y: string): VerifyingKey => {
    const point = pointOf(x, y);
    if (!addon.p256IsPoint(point)) throw new TypeError('no point of P-256');
    return new NativeVerifyingKey(addon, point);
  };
  return {
    verifyingKey,
    verifyingKeyOf(key: KeyObject) {
      const { x, y } = key.export({ format: 'jwk' });
      return verifyingKey(x!, y!);
    },
    signingKeyOf(key: KeyObject) {
      const { d } = key.export({ format: 'jwk' });
      return new NativeSigningKey(addon, d!);
    },
    generateEphemeral() {
      const key = addon.x25519Generate(GENERATED);
      return { privateKey: new NativeAgreementKey(addon, key), publicKey: GENERATED.slice() };
    },
  };
}

class NativeVerifyingKey implements VerifyingKey {
  readonly #addon: NativeOpenssl;
  readonly #point: Uint8Array;

  constructor(addon: NativeOpenssl, point: Uint8Array) {
    this.#addon = addon;
    this.#point = point;
  }

  verify(data: Uint8Array, signature: Uint8Array): boolean {
    return signature.length === ES256_BYTES && this.#addon.es256Verify(this.#point, data, signature);
  }
}

class NativeSigningKey implements SigningKey {
  readonly #addon: NativeOpenssl;
  readonly #key: NativeEs256Key;

  /** @param d the private number, as a JWK has it */
  constructor(addon: NativeOpenssl, d: string) {
    this.#addon = addon;
    const scalar = new Uint8Array(SCALAR_BYTES);
    scalar.set(Buffer.from(d, 'base64url'));
    this.#key = addon.es256Key(scalar);
    scalar.fill(0);
  }

  sign(data: Uint8Array): Uint8Array {
    const signature = new Uint8Array(ES256_BYTES);
    if (!this.#addon.es256Sign(this.#key, data, SIGNED)) throw new Error('OpenSSL makes no signature');
    signature.set(SIGNED);
    return signature;
  }
}

class NativeAgreementKey implements AgreementKey {
  readonly #addon: NativeOpenssl;
  readonly #key: NativeX25519;

  constructor(addon: NativeOpenssl, key: NativeX25519) {
    this.#addon = addon;
    this.#key = key;
  }

  derive(peer: Uint8Array, salt: Uint8Array, info: Uint8Array, bytes: number): Uint8Array | undefined {
    const out = carvedBytes(bytes);
    return this.#addon.x25519Derive(this.#key, peer, salt, info, out) ? out : undefined;
  }
}

/** x ‖ y. Throws for coordinates of another length. */
function pointOf(x: string, y: string): Uint8Array {
  const point = new Uint8Array(2 * COORDINATE_BYTES);
  for (const [index, text] of [x, y].entries()) {
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.length !== COORDINATE_BYTES) throw new TypeError('coordinates of P-256 have 32 bytes');
    point.set(bytes, index * COORDINATE_BYTES);
  }
  return point;
}

/** RFC 6979 section A.2.5: a key, and its signature with SHA-256 over the text "sample". */
const KNOWN = {
  scalar: 'c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721',
  point:
    '60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299',
  text: 'sample',
  signature:
    'efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8',
};

/** Another library under the same names would be found out here: one right signature, two wrong ones, two of its own that share no random number, and a key that agrees with one of `node:crypto`. */
function worksAsExpected(addon: NativeOpenssl): boolean {
  try {
    return answersAsExpected(addon);
  } catch {
    return false; // no random numbers, or a curve that this OpenSSL is forbidden
  }
}

function answersAsExpected(addon: NativeOpenssl): boolean {
  const [point, text, signature] = [hex(KNOWN.point), Buffer.from(KNOWN.text), hex(KNOWN.signature)];
  const isSigned = (what: Uint8Array, by: Uint8Array): boolean => addon.es256Verify(point, what, by);
  const other = Uint8Array.from(signature);
  other[ES256_BYTES - 1]! ^= 1;
  if (!isSigned(text, signature) || isSigned(Buffer.from('simple'), signature) || isSigned(text, other))
    return false;
  const key = new NativeSigningKey(addon, Buffer.from(hex(KNOWN.scalar)).toString('base64url'));
  const [made, again] = [key.sign(text), key.sign(text)];
  const shareR = Buffer.compare(made.subarray(0, SCALAR_BYTES), again.subarray(0, SCALAR_BYTES)) === 0;
  if (shareR || !isSigned(text, made) || !isSigned(text, again)) return false;
  const [one, two] = [curvesOf(addon).generateEphemeral(), NODE_CURVES.generateEphemeral()];
  const [salt, info] = [new Uint8Array(0), new Uint8Array(0)];
  const derived = one.privateKey.derive(two.publicKey, salt, info, X25519_BYTES);
  const alike = two.privateKey.derive(one.publicKey, salt, info, X25519_BYTES);
  return derived !== undefined && alike !== undefined && Buffer.compare(derived, alike) === 0;
}

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}
