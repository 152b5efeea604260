import 'reflect-metadata';
import { randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { parseAddress } from '../lib/address.ts';

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
/** How far the clocks of those who check may be behind, seconds. */
const SKEW = 300;
/** What lies in the past of every clock cannot be signed for: serving certificates live shorter than their authority. */
const CA_YEARS = 10;

/** A certificate with its private key, both as PEM. */
export interface CertifiedKey {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate authority that signs serving certificates; `createdAt` in seconds since the epoch. */
export interface CertificateAuthority extends CertifiedKey {
  readonly createdAt: number;
}

/**
 * Makes a certificate authority of its own: P-256, path length 0, for signing certificates alone (RFC 5280).
 * @param now seconds since the epoch
 */
export async function makeCertificateAuthority(
  commonName: string,
  now: number,
): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [commonName] }, { OU: [new Date(now * 1000).toISOString()] }],
    notBefore: new Date((now - SKEW) * 1000),
    notAfter: new Date((now + CA_YEARS * 365 * 86_400) * 1000),
    signingAlgorithm: EC,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { createdAt: now, certificate: pem(certificate), key: await privatePem(keys.privateKey) };
}

export interface ServingCertificateOptions {
  /** DNS names and IP addresses under which the server is reached. */
  readonly names: readonly string[];
  /** Seconds since the epoch. */
  readonly now: number;
  /** Seconds. */
  readonly lifetime: number;
}

/** Signs a certificate for a TLS server with a new key. It never ends later than its authority. */
export async function issueServingCertificate(
  authority: CertifiedKey,
  { names, now, lifetime }: ServingCertificateOptions,
): Promise<CertifiedKey> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const der = Buffer.from(authority.key.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64');
  const signingKey = await webcrypto.subtle.importKey('pkcs8', der, EC, false, ['sign']);
  const keys = await generateKeys();
  const end = Math.min((now + lifetime) * 1000, issuer.notAfter.getTime());
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0]!.slice(0, 64)] }],
    issuer: issuer.subject,
    notBefore: new Date((now - SKEW) * 1000),
    notAfter: new Date(end),
    signingAlgorithm: EC,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: parseAddress(value) === undefined ? 'dns' : 'ip', value })),
      ),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pem(certificate), key: await privatePem(keys.privateKey) };
}

/** The end of a certificate, seconds since the epoch. Throws when the text is none. */
export function endOfCertificate(certificate: string): number {
  return Date.parse(new X509Certificate(certificate).validTo) / 1000;
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']) as Promise<webcrypto.CryptoKeyPair>;
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `-----BEGIN PRIVATE KEY-----\n${der.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`;
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem').trim()}\n`;
}

/** 16 random bytes, positive (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}
