import { randomUUID } from 'node:crypto';
import { type CryptoKey, type KeyObject, SignJWT } from 'jose';
import type { Pod } from '../peers/directory.ts';
import { type Claims, encodeClaims, TOKEN_TYPE, withoutReserved } from './claims.ts';

/** A key that may assert labels, with the name under which verifiers know it. */
export interface SigningKey {
  readonly trustDomain: string;
  readonly algorithm: 'ES256' | 'HS256';
  readonly keyId: string;
  readonly key: KeyObject | CryptoKey;
}

/**
 * Signs the identity of a pod for whoever holds the private half of `publicKey`.
 * @param now seconds since the epoch
 * @param ttl seconds
 * @returns a JWT (RFC 7519) in its usual form
 */
export async function issueToken(
  signer: SigningKey,
  pod: Pod,
  namespaceLabels: Readonly<Record<string, string>>,
  publicKey: Claims['key'],
  now: number,
  ttl: number,
): Promise<string> {
  const issuedAt = Math.floor(now);
  const claims: Claims = {
    trustDomain: signer.trustDomain,
    namespace: pod.namespace,
    serviceAccount: pod.serviceAccount,
    podName: pod.name,
    podUid: pod.uid,
    labels: withoutReserved(pod.labels),
    namespaceLabels,
    issuedAt,
    notBefore: issuedAt,
    expiresAt: issuedAt + ttl,
    tokenId: randomUUID(),
    key: publicKey,
  };
  return new SignJWT(encodeClaims(claims))
    .setProtectedHeader({ alg: signer.algorithm, typ: TOKEN_TYPE, kid: signer.keyId })
    .sign(signer.key);
}
