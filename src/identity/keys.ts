import {
  createECDH,
  createPrivateKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { UserError } from '../errors.ts';
import type { Claims } from './claims.ts';
import type { SigningKey } from './issue.ts';
import { checkMembers, MIN_SECRET_BYTES, parseObject, thumbprint, trustDomainOf } from './trust.ts';

/** A P-256 key pair of a sidecar: the private half as a JWK for its file, the public one as tokens carry it. */
export interface OwnKey {
  readonly privateKey: KeyObject;
  readonly jwk: JsonWebKey;
  readonly publicKey: Claims['key'];
}

/** Makes the key pair of a sidecar. */
export function generateOwnKey(): OwnKey {
  return ownKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
}

/** Reads the private key of a sidecar. */
export function parseOwnKey(text: string, name: string): OwnKey {
  return ownKey(privateKeyOf(parseObject(text, name), name));
}

/** Makes a new trust domain: the issuer's private key, and the bundle that everybody else gets. */
export function generateIssuer(trustDomain: string): { issuer: object; bundle: object } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' });
  const kid = thumbprint(jwk);
  const { kty, crv, x, y } = jwk;
  return {
    issuer: { trust_domain: trustDomain, ...jwk, kid, alg: 'ES256', use: 'sig' },
    bundle: { trust_domain: trustDomain, keys: [{ kty, crv, x, y, kid, alg: 'ES256', use: 'sig' }] },
  };
}

/** Makes a pre-shared secret of a trust domain. */
export function generateSharedSecret(trustDomain: string): object {
  return { trust_domain: trustDomain, kty: 'oct', k: randomBytes(MIN_SECRET_BYTES).toString('base64url') };
}

/** Reads the issuer's private key. */
export function parseIssuerKey(text: string, name: string): SigningKey {
  const jwk = parseObject(text, name);
  const trustDomain = trustDomainOf(jwk, name);
  const key = privateKeyOf(jwk, name);
  const keyId = thumbprint(jwk as JsonWebKey);
  checkMembers(jwk as JsonWebKey, keyId, name, '');
  return { trustDomain, algorithm: 'ES256', keyId, key };
}

function privateKeyOf(jwk: Record<string, unknown>, name: string): KeyObject {
  if (jwk['kty'] !== 'EC' || jwk['crv'] !== 'P-256' || typeof jwk['d'] !== 'string') {
    throw new UserError(`${name}: has to be a private P-256 key as a JWK (kty EC, crv P-256, d)`);
  }
  try {
    // Derived anew: the import takes any two coordinates that lie on the curve, whatever d is.
    const pair = createECDH('prime256v1');
    pair.setPrivateKey(Buffer.from(jwk['d'], 'base64url'));
    const point = pair.getPublicKey();
    const [x, y] = [point.toString('base64url', 1, 33), point.toString('base64url', 33)];
    if (x === jwk['x'] && y === jwk['y']) return createPrivateKey({ key: jwk as JsonWebKey, format: 'jwk' });
  } catch {
    // told below
  }
  throw new UserError(`${name}: x and y do not belong to d`);
}

function ownKey(privateKey: KeyObject): OwnKey {
  const jwk = privateKey.export({ format: 'jwk' });
  return { privateKey, jwk, publicKey: { x: jwk.x!, y: jwk.y! } };
}
