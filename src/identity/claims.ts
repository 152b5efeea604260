import { labelKeyFault, labelValueFault } from '../policy/syntax.ts';

/** `aud` of every identity: what it may be used for, and nothing else. */
export const AUDIENCE = 'countersign/1';
/** `typ` of the JOSE header: told apart from every other kind of JWT that the same keys might sign (RFC 8725 section 3.11). */
export const TOKEN_TYPE = 'countersign+jwt';
/** Longest life that is accepted, seconds. */
export const MAX_LIFETIME = 24 * 3600;
/** How far two clocks may differ, seconds. Never added to `exp`: nothing is accepted past its end. */
export const CLOCK_SKEW = 30;
/** Label keys that only an issuer may assert. */
export const RESERVED_LABEL_PREFIX = 'identity.countersign.io/';

const MAX_LABELS = 128;
/** The end of the year 9999: what lies behind it no clock and no log can tell. */
const LAST_SECOND = 253_402_300_799;

/** What an identity says about a pod. Times are seconds since the epoch. */
export interface Claims {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly podName: string;
  readonly podUid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly namespaceLabels: Readonly<Record<string, string>>;
  readonly issuedAt: number;
  readonly notBefore: number;
  readonly expiresAt: number;
  readonly tokenId: string;
  /** Coordinates of the P-256 key whose private half the pod's sidecar holds (`cnf`, RFC 7800), base64url. */
  readonly key: { readonly x: string; readonly y: string };
}

/** The claims as the members of a JWT payload. */
export function encodeClaims(claims: Claims): Record<string, unknown> {
  return {
    iss: `spiffe://${claims.trustDomain}`,
    sub: `spiffe://${claims.trustDomain}/ns/${claims.namespace}/sa/${claims.serviceAccount}`,
    aud: AUDIENCE,
    iat: claims.issuedAt,
    nbf: claims.notBefore,
    exp: claims.expiresAt,
    jti: claims.tokenId,
    pod: {
      name: claims.podName,
      uid: claims.podUid,
      labels: claims.labels,
      ns_labels: claims.namespaceLabels,
    },
    cnf: { jwk: { kty: 'EC', crv: 'P-256', x: claims.key.x, y: claims.key.y } },
  };
}

/**
 * Reads a JWT payload. Strict: every member has to be there in its one form, since what an issuer signs is meant to be read in one way.
 * @returns the claims, or a text that says which member breaks which rule
 */
export function decodeClaims(payload: unknown): Claims | string {
  const top = members(payload);
  if (top === undefined) return 'the payload is no object';
  const subject = SUBJECT.exec(text(top['sub']) ?? '');
  const pod = members(top['pod']);
  const jwk = members(members(top['cnf'])?.['jwk']);
  if (subject === null) return 'sub is no spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT';
  const [, trustDomain = '', namespace = '', serviceAccount = ''] = subject;
  if (top['iss'] !== `spiffe://${trustDomain}`) return 'iss is not the trust domain of sub';
  if (!isTrustDomain(trustDomain)) return 'the trust domain has no valid name';
  if (top['aud'] !== AUDIENCE) return `aud is not ${AUDIENCE}`;
  const [issuedAt, notBefore, expiresAt] = [time(top['iat']), time(top['nbf']), time(top['exp'])];
  if (issuedAt === undefined || notBefore === undefined || expiresAt === undefined) {
    return 'iat, nbf and exp have to be whole seconds';
  }
  if (expiresAt <= notBefore || expiresAt - issuedAt > MAX_LIFETIME) {
    return `exp has to lie behind nbf, at most ${MAX_LIFETIME} s behind iat`;
  }
  const tokenId = text(top['jti'], 64);
  if (tokenId === undefined) return 'jti has to be a text of 1 to 64 characters';
  if (pod === undefined) return 'pod is missing';
  const [podName, podUid] = [text(pod['name'], 253), text(pod['uid'], 64)];
  if (podName === undefined || !NAME.test(podName)) return 'pod.name is no name';
  if (podUid === undefined || !UID.test(podUid)) return 'pod.uid is no uid';
  const labels = labelsOf(pod['labels']);
  const namespaceLabels = labelsOf(pod['ns_labels']);
  if (typeof labels === 'string') return `pod.labels: ${labels}`;
  if (typeof namespaceLabels === 'string') return `pod.ns_labels: ${namespaceLabels}`;
  if (jwk?.['kty'] !== 'EC' || jwk['crv'] !== 'P-256') return 'cnf.jwk is no P-256 key';
  const [x, y] = [text(jwk['x']), text(jwk['y'])];
  if (x === undefined || y === undefined || !COORDINATE.test(x) || !COORDINATE.test(y)) {
    return 'cnf.jwk has no coordinates of 32 bytes';
  }
  if (Object.keys(jwk).length !== 4) return 'cnf.jwk has members that a public key has not';
  return {
    trustDomain,
    namespace,
    serviceAccount,
    podName,
    podUid,
    labels,
    namespaceLabels,
    issuedAt,
    notBefore,
    expiresAt,
    tokenId,
    key: { x, y },
  };
}

/** SPIFFE-ID, section 2.1: lower case letters, digits, dots, dashes and underscores, at most 255. */
export function isTrustDomain(name: string): boolean {
  return /^[a-z0-9._-]{1,255}$/.test(name);
}

/** Drops what only an issuer may say from what a pod says. */
export function withoutReserved(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith(RESERVED_LABEL_PREFIX)));
}

const SUBJECT =
  /^spiffe:\/\/([a-z0-9._-]{1,255})\/ns\/([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)\/sa\/([a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)$/;
const NAME = /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/;
const UID = /^[A-Za-z0-9._-]+$/;
/** 32 bytes in base64url; the last character carries four bits alone, so that there is one form of each. */
const COORDINATE = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

function members(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function text(value: unknown, longest = 1024): string | undefined {
  return typeof value === 'string' && value.length > 0 && value.length <= longest ? value : undefined;
}

function time(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= LAST_SECOND
    ? value
    : undefined;
}

function labelsOf(value: unknown): Record<string, string> | string {
  const found = members(value);
  if (found === undefined) return 'no object';
  if (Object.keys(found).length > MAX_LABELS) return `more than ${MAX_LABELS}`;
  for (const [key, label] of Object.entries(found)) {
    const fault =
      labelKeyFault(key) ?? (typeof label === 'string' ? labelValueFault(label) : 'the value is no text');
    if (fault !== undefined) return `${JSON.stringify(key.slice(0, 80))} ${fault}`;
  }
  return found as Record<string, string>;
}
