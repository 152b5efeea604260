import 'reflect-metadata';
import type { KeyObject } from 'node:crypto';
import { KeyUsageFlags } from '@peculiar/x509';
import type { Certificate } from './certificate.ts';

/** Longest life of a pod's certificate, seconds: 24 h as of every identity, and an hour by which issuers date back. */
export const MOST_LIFETIME = 25 * 3600;

const [SERVER_AUTH, CLIENT_AUTH] = ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'];
const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);
const LEAST_RSA_BITS = 2048;

/** What is wrong with a pod's own certificate, its names apart; undefined: nothing. It need not be signed by anybody yet. */
export function leafFault(leaf: Certificate): string | undefined {
  if (leaf.authority) return 'it is the certificate of an authority, no pod';
  if (leaf.keyUsage !== undefined && (leaf.keyUsage & KeyUsageFlags.digitalSignature) === 0) {
    return 'its key usage is not digitalSignature';
  }
  // SPIFFE X509-SVID, section 4.3.
  if (((leaf.keyUsage ?? 0) & (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign)) !== 0) {
    return 'its key usage is that of an authority';
  }
  const purposes = leaf.extendedKeyUsage;
  // A sidecar calls and is called with the same key.
  if (purposes !== undefined && !(purposes.includes(SERVER_AUTH) && purposes.includes(CLIENT_AUTH))) {
    return 'its extended key usage is not both serverAuth and clientAuth';
  }
  const { asymmetricKeyType, asymmetricKeyDetails } = leaf.publicKey;
  if (asymmetricKeyType !== 'ec' || asymmetricKeyDetails?.namedCurve !== 'prime256v1')
    return 'its key is not P-256';
  if (leaf.notAfter - leaf.notBefore > MOST_LIFETIME)
    return `it is valid for more than ${MOST_LIFETIME / 3600} h`;
  return undefined;
}

/**
 * What is wrong with an authority in a chain; undefined: nothing.
 * @param below how many authorities stand between it and the pod's certificate
 */
export function authorityFault(authority: Certificate, below: number): string | undefined {
  if (!authority.authority) return 'it is no authority (basic constraints)';
  if (((authority.keyUsage ?? 0) & KeyUsageFlags.keyCertSign) === 0)
    return 'its key usage is not keyCertSign';
  if (below > (authority.pathLength ?? Infinity)) {
    return `its path length is ${authority.pathLength}, and ${below} authorities stand below it`;
  }
  return keyFault(authority.publicKey);
}

/**
 * The root on which a chain rests, after every signature of it was verified; a text says what is wrong. From the root down, so that no key is used
 * that nobody vouched for.
 * @param chain the pod's certificate first, each signed by the next, and the last by one of `roots`
 */
export function rootOf<R extends { readonly certificate: Certificate }>(
  chain: readonly Certificate[],
  roots: readonly R[],
): R | string {
  const authorities = chain.slice(1);
  for (const [below, authority] of authorities.entries()) {
    const fault = authorityFault(authority, below);
    if (fault !== undefined) return `authority ${below + 1} of the chain: ${fault}`;
  }
  const last = chain.at(-1)!;
  const root = roots.find(
    ({ certificate }) =>
      authorityFault(certificate, authorities.length) === undefined && signed(last, certificate),
  );
  if (root === undefined) return 'no trusted root signed its chain';
  for (let at = chain.length - 2; at >= 0; at--) {
    if (!signed(chain[at]!, chain[at + 1]!))
      return `certificate ${at + 1} of the chain is not signed by the next one`;
  }
  return root;
}

/** Whether names, key identifiers and the signature say so (RFC 5280 section 6.1.3). */
function signed(certificate: Certificate, by: Certificate): boolean {
  try {
    return certificate.crypto.checkIssued(by.crypto) && certificate.crypto.verify(by.publicKey);
  } catch {
    return false; // a key that does not fit the algorithm
  }
}

function keyFault({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string | undefined {
  if (asymmetricKeyType === 'ed25519') return undefined;
  if (asymmetricKeyType === 'ec' && CURVES.has(asymmetricKeyDetails?.namedCurve ?? '')) return undefined;
  if (asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= LEAST_RSA_BITS)
    return undefined;
  return `its key is of no kind that is accepted: P-256, P-384, P-521, Ed25519, or RSA of ${LEAST_RSA_BITS} bits and more`;
}
