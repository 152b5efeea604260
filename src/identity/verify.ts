import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { PeerIdentity, TokenRefusal } from '../handshake/credentials.ts';
import type { Curves, VerifyingKey } from '../lib/curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import { type Claims, CLOCK_SKEW, decodeClaims, TOKEN_TYPE } from './claims.ts';
import { fromCompact, type TokenParts } from './compact.ts';
import { type ForeignFacts, foreignFacts, isValid } from './foreign-identity.ts';
import type { Revocations } from './revocations.ts';
import type { TrustBundle } from './trust.ts';

const CACHED_TOKENS = 4096;

/**
 * A verified token. One of another domain says what the mapping makes of it: namespace and labels are those of here, uid and name of the key are
 * qualified by the domain.
 */
export interface ProvenIdentity extends Claims, PeerIdentity {
  /** Of the key that signed it: the RFC 7638 thumbprint of an issuer key, or the name of the shared secret. */
  readonly issuerKeyId: string;
  /** A certificate proved it (`src/pki`), which says names and no labels. */
  readonly namesOnly?: { readonly serviceAccount: string };
  /** The other domain that it is of; undefined: it is of the own one. */
  readonly foreignDomain?: string;
}

export type Verification = { readonly identity: ProvenIdentity } | { readonly refusal: TokenRefusal };

/**
 * Verifies tokens of one trust domain: signature, claims, times. A token that was verified is remembered by its exact bytes, so that a
 * second handshake costs no signature; its times are looked at every time. Never throws, whatever the bytes.
 */
export class TokenVerifier {
  readonly #bundle: TrustBundle;
  readonly #revocations: Revocations | undefined;
  readonly #curves: Curves;
  /** The issuers' keys that signed something here. */
  readonly #issuers = new Map<KeyObject, VerifyingKey>();
  readonly #verified = new LRUCache<string, ProvenIdentity>({
    maxSize: CACHED_TOKENS,
    sizeCalculation: () => 1,
    dispose: ({ tokenId, podUid }, form) => {
      const token = `${podUid} ${tokenId}`;
      if (this.#formOf.get(token) === form) this.#formOf.delete(token);
    },
  });
  /** The wire form under which each token is remembered. One: a token has several, and its holder must not fill the memory with them. */
  readonly #formOf = new Map<string, string>();

  constructor(bundle: TrustBundle, revocations?: Revocations, curves: Curves = NODE_CURVES) {
    this.#bundle = bundle;
    this.#revocations = revocations;
    this.#curves = curves;
  }

  /** How many tokens are remembered. */
  get remembered(): number {
    return this.#verified.size;
  }

  /** @param nowSeconds since the epoch */
  verify(token: Uint8Array, nowSeconds: number): Verification {
    const key = Buffer.from(token.buffer, token.byteOffset, token.byteLength).toString('latin1');
    const known = this.#verified.get(key);
    const checked = known === undefined ? this.#check(token) : { identity: known };
    if ('refusal' in checked) return checked;
    const { identity } = checked;
    const domain = this.#bundle.federation?.get(identity.foreignDomain ?? '');
    if (domain !== undefined && !isValid(domain, nowSeconds)) {
      return refuse('foreign-domain', `the keys of ${domain.trustDomain} are too old to be believed`);
    }
    if (nowSeconds >= identity.expiresAt)
      return refuse('token-expired', `ended at ${when(identity.expiresAt)}`);
    const begins = Math.max(identity.notBefore, identity.issuedAt);
    if (nowSeconds + CLOCK_SKEW < begins) return refuse('token-not-yet-valid', `begins at ${when(begins)}`);
    if (known === undefined) this.#verified.set(key, identity);
    if (known === undefined) this.#rememberForm(key, identity);
    const revoked = this.#revocations?.markOver(identity.podUid, identity.issuedAt);
    if (revoked === undefined) return checked;
    return refuse('token-expired', `revoked: the pod's tokens from before ${when(revoked)} are dead`);
  }

  #rememberForm(form: string, { podUid, tokenId }: ProvenIdentity): void {
    const token = `${podUid} ${tokenId}`;
    const other = this.#formOf.get(token);
    this.#formOf.set(token, form);
    if (other !== undefined && other !== form) this.#verified.delete(other);
  }

  #check(token: Uint8Array): Verification {
    const parts = fromCompact(token);
    if (parts === undefined) return refuse('token-malformed', 'no compact token');
    const header = parseCanonical(parts.header);
    const payload = parseCanonical(parts.payload);
    if (header === undefined || payload === undefined)
      return refuse('token-malformed', 'header or payload is no JSON');
    const keyId = keyIdOf(header, this.#bundle.algorithm);
    const claims = decodeClaims(payload);
    if (typeof claims === 'string') return refuse('token-malformed', claims);
    const own = claims.trustDomain === this.#bundle.trustDomain;
    const domain = own ? this.#bundle : this.#bundle.federation?.get(claims.trustDomain);
    if (domain === undefined) {
      return refuse(
        'foreign-domain',
        `of ${claims.trustDomain}, accepted here is ${this.#bundle.trustDomain}`,
      );
    }
    if (keyId === undefined) return refuse('token-untrusted', 'header of another kind of token or algorithm');
    // The keys of the domain that the token names, and no others: a key of one domain says nothing about another.
    const key = domain.keys.get(keyId);
    if (key === undefined) return refuse('token-untrusted', 'signed by a key that is not trusted');
    if (!this.#isSigned(parts, key, this.#bundle.algorithm))
      return refuse('token-untrusted', 'the signature is wrong');
    let foreign: ForeignFacts | undefined;
    if ('namespaces' in domain) {
      foreign = foreignFacts(claims, domain, keyId);
      const name = `${claims.trustDomain} namespace ${claims.namespace}`;
      if (foreign === undefined) return refuse('foreign-domain', `${name} is not mapped to anything here`);
    }
    const { x, y } = claims.key;
    try {
      const publicKey = this.#curves.verifyingKey(x, y);
      return { identity: { ...claims, publicKey, issuerKeyId: keyId, ...foreign } };
    } catch {
      return refuse('token-malformed', 'cnf.jwk is no point of the curve');
    }
  }

  #isSigned({ signed, signature }: TokenParts, key: KeyObject, algorithm: string): boolean {
    if (algorithm === 'HS256') {
      const expected = createHmac('sha256', key).update(signed).digest();
      return expected.length === signature.length && timingSafeEqual(expected, signature);
    }
    let issuer = this.#issuers.get(key);
    if (issuer === undefined) this.#issuers.set(key, (issuer = this.#curves.verifyingKeyOf(key)));
    return issuer.verify(signed, signature);
  }
}

/** The header has exactly these members; anything else (`crit`, `jku`, `jwk`, `x5u`) wants something that is not done here. */
function keyIdOf(header: Record<string, unknown>, algorithm: string): string | undefined {
  const { alg, typ, kid } = header as { alg?: unknown; typ?: unknown; kid?: unknown };
  if (alg !== algorithm || typ !== TOKEN_TYPE || Object.keys(header).length !== 3) return undefined;
  return typeof kid === 'string' ? kid : undefined;
}

/** JSON that can be read in one way alone: written as `JSON.stringify` does, so without doubled members or blanks. */
function parseCanonical(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    return JSON.stringify(value) === text ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function refuse(reason: TokenRefusal['reason'], detail: string): { refusal: TokenRefusal } {
  return { refusal: { reason, detail } };
}

function when(seconds: number): string {
  return new Date(Math.min(seconds, 253_402_300_799) * 1000).toISOString();
}
