import { createHash, type KeyObject } from 'node:crypto';
import { decodeProtectedHeader, EmbeddedJWK, jwtVerify, SignJWT } from 'jose';
import { thumbprint } from '../identity/trust.ts';
import { LIMITS, PROOF_SKEW } from './limits.ts';

/** `typ` of a proof: it can be taken for no identity and no identity for it (RFC 8725 section 3.11). */
const PROOF_TYPE = 'countersign-proof+jwt';

/** What a proof is about. */
export interface ProvenRequest {
  readonly method: string;
  readonly path: string;
  /** Whole, as it is sent; empty for a stream, whose lines TLS protects. */
  readonly body: string;
  /** The bearer token of the same request: a proof cannot be carried over to another one. */
  readonly token: string;
}

/** A P-256 public key as tokens carry it. */
export interface PublicCoordinates {
  readonly x: string;
  readonly y: string;
}

/**
 * Signs a request with the sidecar's own key, after the manner of DPoP (RFC 9449) with the body's hash besides.
 * @param now seconds since the epoch
 * @param nonce never used before
 */
export async function signRequest(
  request: ProvenRequest,
  key: { readonly privateKey: KeyObject; readonly publicKey: PublicCoordinates },
  now: number,
  nonce: string,
): Promise<string> {
  const { x, y } = key.publicKey;
  return new SignJWT(claimsOf(request))
    .setProtectedHeader({ typ: PROOF_TYPE, alg: 'ES256', jwk: { kty: 'EC', crv: 'P-256', x, y } })
    .setIssuedAt(Math.floor(now))
    .setJti(nonce)
    .sign(key.privateKey);
}

export interface VerifiedProof {
  readonly key: PublicCoordinates;
  /** RFC 7638 thumbprint of the key. */
  readonly thumbprint: string;
  readonly nonce: string;
}

/**
 * Verifies the proof of a request: made now, by the holder of the key that it names, about this very request.
 * @param now seconds since the epoch
 * @returns a text where it proves nothing: why
 */
export async function verifyRequest(
  proof: string,
  request: ProvenRequest,
  now: number,
): Promise<VerifiedProof | string> {
  if (proof.length > LIMITS.proof) return `the proof has more than ${LIMITS.proof} bytes`;
  try {
    const header = decodeProtectedHeader(proof);
    const { jwk } = header;
    if (jwk === undefined || Object.keys(header).length !== 3 || Object.keys(jwk).length !== 4) {
      return 'the header of the proof has to be typ, alg and jwk';
    }
    if (jwk.kty !== 'EC' || jwk.crv !== 'P-256') return 'the key of the proof is no P-256 key';
    const { payload } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: ['ES256'],
      typ: PROOF_TYPE,
      currentDate: new Date(now * 1000),
      // Only `iat` says when; it is looked at below, in both directions.
      requiredClaims: ['iat', 'jti'],
      clockTolerance: PROOF_SKEW,
    });
    const { iat = 0, jti = '' } = payload;
    if (Math.abs(now - iat) > PROOF_SKEW) {
      return `the proof was made ${Math.round(now - iat)} s ago; the clocks may differ by ${PROOF_SKEW} s`;
    }
    if (jti.length < 16 || jti.length > 64) return 'jti has to be a text of 16 to 64 characters';
    for (const [claim, expected] of Object.entries(claimsOf(request))) {
      if (payload[claim] !== expected) return `the proof is about another request: ${claim} differs`;
    }
    const { x = '', y = '' } = jwk;
    return { key: { x, y }, thumbprint: thumbprint({ x, y }), nonce: jti };
  } catch {
    return 'the proof is no signature of the key that it names';
  }
}

function claimsOf({ method, path, body, token }: ProvenRequest): Record<string, string> {
  return { htm: method, htu: path, bdh: sha256(body), ath: sha256(token) };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
