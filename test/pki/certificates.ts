import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { encodeChain } from '../../src/pki/chain-form.ts';

export const DOMAIN = 'cluster.local';
/** Seconds since the epoch. */
export const NOW = Math.floor(Date.now() / 1000);
export const HOUR = 3600;

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly algorithm: object;
}

/** What a test makes otherwise than a decent issuer would. */
export interface Oddities {
  readonly issuer?: Authority;
  readonly notBefore?: number;
  readonly notAfter?: number;
  /** Of the key pair. */
  readonly algorithm?: object;
  /** Instead of the usual extension of the same kind; undefined leaves it out. */
  readonly basicConstraints?: x509.Extension | undefined;
  readonly keyUsage?: x509.Extension | undefined;
  readonly extendedKeyUsage?: x509.Extension | undefined;
  readonly names?: x509.Extension | undefined;
  readonly podIdentity?: x509.Extension | undefined;
  readonly more?: readonly x509.Extension[];
  /** The key of the issuer is not named, so that names alone tell who it is. */
  readonly withoutKeyIdentifier?: boolean;
  readonly keys?: webcrypto.CryptoKeyPair;
}

/** A decent authority; without an issuer a root. */
export async function makeAuthority(name: string, odd: Oddities = {}): Promise<Authority> {
  const algorithm = odd.algorithm ?? P256;
  const keys = odd.keys ?? (await generate(algorithm));
  const { issuer } = odd;
  const extensions = present([
    'basicConstraints' in odd
      ? odd.basicConstraints
      : new x509.BasicConstraintsExtension(true, undefined, true),
    'keyUsage' in odd ? odd.keyUsage : new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ...(odd.more ?? []),
  ]);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: `CN=${name}`,
    issuer: issuer?.certificate.subject ?? `CN=${name}`,
    notBefore: date(odd.notBefore ?? NOW - HOUR),
    notAfter: date(odd.notAfter ?? NOW + 1000 * HOUR),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: issuer?.algorithm ?? algorithm,
    extensions,
  });
  return { certificate, keys, algorithm };
}

export interface Leaf {
  readonly certificate: x509.X509Certificate;
  readonly keys: webcrypto.CryptoKeyPair;
}

/** The certificate of the pod `shop/web`, as a decent issuer signs it, but for what is odd. */
export async function makeLeaf(issuer: Authority, odd: Oddities = {}): Promise<Leaf> {
  const keys = odd.keys ?? (await generate(odd.algorithm ?? P256));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: '',
    issuer: issuer.certificate.subject,
    notBefore: date(odd.notBefore ?? NOW - 60),
    notAfter: date(odd.notAfter ?? NOW + HOUR),
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: issuer.algorithm,
    extensions: present([
      'basicConstraints' in odd
        ? odd.basicConstraints
        : new x509.BasicConstraintsExtension(false, undefined, true),
      'keyUsage' in odd
        ? odd.keyUsage
        : new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      'extendedKeyUsage' in odd
        ? odd.extendedKeyUsage
        : purposes(x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth),
      'names' in odd ? odd.names : names(spiffeId('shop', 'web-account')),
      'podIdentity' in odd ? odd.podIdentity : podIdentity(),
      odd.withoutKeyIdentifier === true
        ? undefined
        : await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
      ...(odd.more ?? []),
    ]),
  });
  return { certificate, keys };
}

export function spiffeId(namespace: string, account: string, domain = DOMAIN): string {
  return `spiffe://${domain}/ns/${namespace}/sa/${account}`;
}

export function names(...uris: string[]): x509.Extension {
  return new x509.SubjectAlternativeNameExtension(
    uris.map((value) => ({ type: 'url' as const, value })),
    true,
  );
}

export function purposes(...usages: string[]): x509.Extension {
  return new x509.ExtendedKeyUsageExtension(usages);
}

/** The PodIdentity extension of KEP-4317. */
export function podIdentity({
  namespace = 'shop',
  account = 'web-account',
  pod = 'web',
  uid = 'uid-web',
} = {}): x509.Extension {
  return podIdentityOf([namespace, 'uid-ns', account, 'uid-sa', pod, uid, 'node-1', 'uid-node']);
}

export function podIdentityOf(fields: readonly string[]): x509.Extension {
  const encoded = fields.map((text, tag) => tlv(0x80 | tag, Buffer.from(text)));
  return new x509.Extension('1.3.6.1.4.1.57683.1', true, Uint8Array.from(tlv(0x30, Buffer.concat(encoded))));
}

function tlv(tag: number, content: Buffer): Buffer {
  return Buffer.concat([
    content.length < 128 ? Buffer.of(tag, content.length) : Buffer.of(tag, 0x81, content.length),
    content,
  ]);
}

/** As it goes over the wire. */
export function wireOf(...chain: readonly { readonly certificate: x509.X509Certificate }[]): Uint8Array {
  return encodeChain(chain.map(({ certificate }) => new Uint8Array(certificate.rawData)));
}

export function pemOf(...chain: readonly { readonly certificate: x509.X509Certificate }[]): string {
  return chain.map(({ certificate }) => `${certificate.toString('pem')}\n`).join('');
}

export async function keyPem({ keys }: { readonly keys: webcrypto.CryptoKeyPair }): Promise<string> {
  const der = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

export async function generate(algorithm: object): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(algorithm as webcrypto.EcKeyGenParams, true, [
    'sign',
    'verify',
  ])) as webcrypto.CryptoKeyPair;
}

function present(extensions: readonly (x509.Extension | undefined)[]): x509.Extension[] {
  return extensions.filter((one) => one !== undefined);
}

function serial(): string {
  return `40${randomBytes(15).toString('hex')}`;
}

function date(seconds: number): Date {
  return new Date(seconds * 1000);
}
