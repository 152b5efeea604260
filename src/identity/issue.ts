import { randomUUID } from 'node:crypto';
import { type CryptoKey, type KeyObject, SignJWT } from 'jose';
import { messageOf, UserError } from '../errors.ts';
import type { Pod } from '../peers/directory.ts';
import { type Claims, decodeClaims, encodeClaims, TOKEN_TYPE, withoutReserved } from './claims.ts';
import { toCompact } from './compact.ts';

/** A key that may assert labels, with the name under which verifiers know it. */
export interface SigningKey {
  readonly trustDomain: string;
  readonly algorithm: 'ES256' | 'HS256';
  readonly keyId: string;
  readonly key: KeyObject | CryptoKey;
}

/**
 * Signs the identity of a pod for whoever holds the private half of `publicKey`. Throws a `UserError` where nobody would accept it: a name or
 * label that breaks the rules of the API, or more of them than go over the wire.
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
    namespaceLabels: withoutReserved(namespaceLabels),
    issuedAt,
    notBefore: issuedAt,
    expiresAt: issuedAt + ttl,
    tokenId: randomUUID(),
    key: publicKey,
  };
  const payload = encodeClaims(claims);
  const fault = decodeClaims(payload);
  if (typeof fault === 'string')
    throw new UserError(`no identity for ${pod.namespace}/${pod.name}: ${fault}`);
  const jwt = await new SignJWT(payload)
    .setProtectedHeader({ alg: signer.algorithm, typ: TOKEN_TYPE, kid: signer.keyId })
    .sign(signer.key);
  try {
    toCompact(jwt);
  } catch (error) {
    const why = messageOf(error);
    throw new UserError(`no identity for ${pod.namespace}/${pod.name}: ${why}; take labels away`, {
      cause: error,
    });
  }
  return jwt;
}
