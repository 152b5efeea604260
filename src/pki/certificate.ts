import 'reflect-metadata';
import { type KeyObject, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** A certificate as far as it counts here. Nothing in it is believed yet. */
export interface Certificate {
  /** Node's own: signatures, names of issuers. */
  readonly crypto: X509Certificate;
  readonly publicKey: KeyObject;
  /** Seconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly serial: string;
  /** Basic constraints: whether it may sign others, and how many authorities may stand between it and a pod. */
  readonly authority: boolean;
  readonly pathLength: number | undefined;
  /** Bits of the key usage (`x509.KeyUsageFlags`); undefined: nothing is said. */
  readonly keyUsage: number | undefined;
  /** undefined: nothing is said. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** URIs among the subject's alternative names. */
  readonly uris: readonly string[];
  /** Contents of the PodIdentity extension (KEP-4317). */
  readonly podIdentity: Uint8Array | undefined;
}

/** What is read here. Others are passed over, unless the issuer calls them critical (RFC 5280 section 4.2). */
const EXTENSION = {
  keyUsage: '2.5.29.15',
  alternativeNames: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  extendedKeyUsage: '2.5.29.37',
  podIdentity: '1.3.6.1.4.1.57683.1',
} as const;
const READ: ReadonlySet<string> = new Set(Object.values(EXTENSION));
/** Limits that are not honoured here: name constraints, policy constraints, inhibitAnyPolicy. Passing one over would widen what its issuer meant. */
const LIMITS: ReadonlySet<string> = new Set(['2.5.29.30', '2.5.29.36', '2.5.29.54']);

/** ECDSA and RSA PKCS #1 with SHA-2, Ed25519. Nothing with SHA-1, nothing with parameters that would have to be judged. */
const SIGNATURE_ALGORITHMS: ReadonlySet<string> = new Set([
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.3.101.112',
]);

/** Reads DER that anybody may have sent. @returns the certificate, or a text that says what is wrong with it */
export function readCertificate(der: Uint8Array): Certificate | string {
  let crypto: X509Certificate,
    publicKey: KeyObject,
    parsed: x509.X509Certificate,
    extensions: readonly x509.Extension[];
  try {
    crypto = new X509Certificate(der);
    publicKey = crypto.publicKey;
    parsed = new x509.X509Certificate(der);
    extensions = parsed.extensions;
  } catch {
    return 'it is no X.509 certificate';
  }
  if (crypto.raw.length !== der.length) return 'something stands behind it';
  if (!SIGNATURE_ALGORITHMS.has(crypto.signatureAlgorithmOid))
    return 'it is signed with an algorithm that is not accepted';
  const [notBefore, notAfter] = [parsed.notBefore.getTime() / 1000, parsed.notAfter.getTime() / 1000];
  // Written so that what is no time at all does not pass.
  if (!(notBefore >= 0 && notAfter > notBefore)) return 'its time of validity is none';
  const seen = new Map<string, x509.Extension>();
  for (const extension of extensions) {
    const { type, critical } = extension;
    if (seen.has(type)) return `its extension ${type} is there twice`;
    if (LIMITS.has(type)) return `its extension ${type} limits names or policies, which is not honoured here`;
    if (critical && !READ.has(type)) return `its extension ${type} is critical and not understood`;
    seen.set(type, extension);
  }
  const of = <E extends x509.Extension>(type: string, kind: new (...given: never[]) => E): E | undefined => {
    const found = seen.get(type);
    return found instanceof kind ? found : undefined;
  };
  const basic = of(EXTENSION.basicConstraints, x509.BasicConstraintsExtension);
  const podIdentity = seen.get(EXTENSION.podIdentity)?.value;
  return {
    crypto,
    publicKey,
    notBefore,
    notAfter,
    serial: crypto.serialNumber,
    authority: basic?.ca === true,
    pathLength: basic?.pathLength,
    keyUsage: of(EXTENSION.keyUsage, x509.KeyUsagesExtension)?.usages,
    extendedKeyUsage: of(EXTENSION.extendedKeyUsage, x509.ExtendedKeyUsageExtension)?.usages.map(String),
    uris: (of(EXTENSION.alternativeNames, x509.SubjectAlternativeNameExtension)?.names.items ?? [])
      .filter(({ type }) => type === 'url')
      .map(({ value }) => value),
    podIdentity: podIdentity === undefined ? undefined : new Uint8Array(podIdentity),
  };
}
