import {
  createPublicKey,
  createSecretKey,
  hkdfSync,
  createHash,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto';
import { UserError } from '../errors.ts';
import { isTrustDomain } from './claims.ts';
import { type Federation, parseFederation } from './federation.ts';

/** What one trust domain accepts: keys of one kind, each for one algorithm. The key decides the algorithm, never a token. */
export interface TrustBundle {
  readonly trustDomain: string;
  readonly algorithm: 'ES256' | 'HS256';
  /** By key id: the RFC 7638 thumbprint. */
  readonly keys: ReadonlyMap<string, KeyObject>;
  /** Other domains that are believed too, each for what its entry says; left out: none. */
  readonly federation?: Federation;
}

/** Most issuer keys of a domain: each is one more MAC for a Hello that has none of them. */
const MOST_KEYS = 16;

/** Shortest pre-shared secret, bytes: tokens on the wire let everybody guess short ones offline. */
export const MIN_SECRET_BYTES = 32;

/**
 * Reads a trust bundle: a JWK set (RFC 7517) with `trust_domain` beside `keys`.
 * @param name the file's name, for errors
 */
export function parseTrustBundle(text: string, name: string): TrustBundle {
  const set = parseObject(text, name);
  const trustDomain = trustDomainOf(set, name);
  return { trustDomain, algorithm: 'ES256', keys: issuerKeysOf(set['keys'], name, 'keys') };
}

/**
 * Reads a trust bundle with the other domains that it federates with (docs/federation.md). {@link parseTrustBundle} leaves those out.
 * @param onBad told of another domain whose entry cannot be read, so that nobody of it is believed; without it such an entry throws
 */
export function parseFederatedTrust(
  text: string,
  name: string,
  onBad?: (problem: string) => void,
): TrustBundle & { readonly federation: Federation } {
  const bundle = parseTrustBundle(text, name);
  const own = { trustDomain: bundle.trustDomain, keys: bundle.keys.size };
  const listed = parseObject(text, name)['federation'];
  const readKeys = (keys: unknown, field: string) => issuerKeysOf(keys, name, field);
  return { ...bundle, federation: parseFederation(listed, name, own, readKeys, onBad) };
}

/** Reads the public issuer keys of a domain. Throws a `UserError` that names the field. */
export function issuerKeysOf(listed: unknown, name: string, list: string): Map<string, KeyObject> {
  if (!Array.isArray(listed) || listed.length === 0)
    throw bad(name, list, 'has to be a list with a key in it');
  if (listed.length > MOST_KEYS) throw bad(name, list, `has ${listed.length} keys; ${MOST_KEYS} is the most`);
  const keys = new Map<string, KeyObject>();
  for (const [index, entry] of listed.entries()) {
    const jwk = entry as JsonWebKey;
    const field = `${list}[${index}]`;
    if (jwk?.kty !== 'EC' || jwk.crv !== 'P-256') throw bad(name, field, 'has to be a P-256 key');
    if (jwk.d !== undefined) throw bad(name, field, 'holds a private key: a trust bundle must not');
    const key = importKey(jwk, name, field);
    const keyId = thumbprint(key.export({ format: 'jwk' }));
    checkMembers(jwk, keyId, name, `${field}.`);
    keys.set(keyId, key);
  }
  return keys;
}

/** Reads a pre-shared secret: a JWK of kind `oct` with `trust_domain` beside it. */
export function parseSharedSecret(text: string, name: string): TrustBundle & { readonly keyId: string } {
  const jwk = parseObject(text, name);
  const trustDomain = trustDomainOf(jwk, name);
  if (jwk['federation'] !== undefined) {
    throw bad(
      name,
      'federation',
      'has no place beside a shared secret, which whoever has it signs with: use issuer keys',
    );
  }
  const encoded: unknown = jwk['k'];
  if (jwk['kty'] !== 'oct' || typeof encoded !== 'string') {
    throw bad(
      name,
      'kty and k',
      "have to be those of a shared secret: make one with 'countersign identity psk'",
    );
  }
  if (!/^[A-Za-z0-9_-]*$/.test(encoded)) throw bad(name, 'k', 'has to be base64url');
  const secret = Buffer.from(encoded, 'base64url');
  if (secret.length < MIN_SECRET_BYTES) {
    throw bad(name, 'k', `has ${secret.length} bytes; at least ${MIN_SECRET_BYTES} random ones are needed`);
  }
  const keyId = createHash('sha256')
    .update(`{"k":"${secret.toString('base64url')}","kty":"oct"}`)
    .digest('base64url')
    // A thumbprint of a secret is a way to test guesses (RFC 7638 section 7); this much only tells keys apart.
    .slice(0, 8);
  return { trustDomain, algorithm: 'HS256', keys: new Map([[keyId, createSecretKey(secret)]]), keyId };
}

/** Reads either kind: a JWK set of issuer keys, or a pre-shared secret. */
export function parseTrust(text: string, name: string): TrustBundle {
  return parseObject(text, name)['kty'] === 'oct'
    ? parseSharedSecret(text, name)
    : parseTrustBundle(text, name);
}

/**
 * What a JWK may say about itself beside the key: only what is done with it here, so that a key marked for something else is not used for this.
 * Throws a `UserError` that names the member.
 */
export function checkMembers(jwk: JsonWebKey, keyId: string, name: string, field: string): void {
  const expected: [member: string, value: string][] = [
    ['kid', keyId],
    ['alg', 'ES256'],
    ['use', 'sig'],
  ];
  for (const [member, value] of expected) {
    if (jwk[member] !== undefined && jwk[member] !== value) {
      throw bad(name, `${field}${member}`, `has to be ${value}, or left out`);
    }
  }
}

/**
 * The keys under which Hellos of this domain are admitted (docs/protocol.md section 6). A filter before anything dear, no proof: of an issuer
 * key everybody knows it who knows the bundle.
 */
export function admissionKey(
  bundle: Pick<TrustBundle, 'algorithm' | 'keys'>,
  keyId: string,
): Uint8Array | undefined {
  const key = bundle.keys.get(keyId);
  if (key === undefined) return undefined;
  if (bundle.algorithm === 'HS256') {
    return new Uint8Array(hkdfSync('sha256', key.export(), 'countersign/1', 'countersign/1 admission', 32));
  }
  return createHash('sha256').update('countersign/1 admission').update(keyId).digest();
}

/** RFC 7638 thumbprint of a P-256 key. */
export function thumbprint(jwk: JsonWebKey): string {
  const canonical = `{"crv":"P-256","kty":"EC","x":${JSON.stringify(jwk.x)},"y":${JSON.stringify(jwk.y)}}`;
  return createHash('sha256').update(canonical).digest('base64url');
}

export function parseObject(text: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UserError(`${name}: no JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UserError(`${name}: no JSON object`);
  }
  return value as Record<string, unknown>;
}

export function trustDomainOf(value: Record<string, unknown>, name: string): string {
  const domain = value['trust_domain'];
  if (typeof domain !== 'string' || !isTrustDomain(domain)) {
    throw bad(
      name,
      'trust_domain',
      'has to be a name like cluster.local: lower case letters, digits, dots, dashes',
    );
  }
  return domain;
}

function importKey(jwk: JsonWebKey, name: string, field: string): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    throw bad(name, field, 'is no valid point of the curve');
  }
}

function bad(name: string, field: string, what: string): UserError {
  return new UserError(`${name}: ${field} ${what}`);
}
