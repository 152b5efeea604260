import { createPrivateKey } from 'node:crypto';
import { messageOf, UserError } from '../errors.ts';
import { type OwnKey, parseOwnKey } from '../identity/keys.ts';
import type { CertificateTrust } from './certificate-trust.ts';
import { encodeChain } from './chain-form.ts';
import { pemBlocks } from './pem.ts';

/**
 * The own chain as it goes over the wire, from PEM: the pod's certificate first. Roots that are believed are left out, so that a file may hold them.
 * Throws a `UserError` that names the file.
 */
export function ownChain(text: string, file: string, trust: CertificateTrust): Uint8Array {
  const roots = trust.roots.map(({ certificate }) => certificate.crypto.raw);
  const certificates = pemBlocks(text)
    .filter(({ label }) => label === 'CERTIFICATE')
    .map(({ der }) => der)
    .filter((der) => !roots.some((root) => root.equals(der)));
  if (certificates.length === 0) throw new UserError(`${file}: holds no certificate of a pod in PEM`);
  try {
    return encodeChain(certificates);
  } catch (error) {
    throw new UserError(`${file}: ${messageOf(error)}`, { cause: error });
  }
}

/** The own private key, from PEM: a P-256 key, not encrypted. What stands beside it, such as certificates, is passed over. Throws a `UserError` that names the file. */
export function ownPrivateKey(text: string, file: string): OwnKey {
  const blocks = pemBlocks(text).filter(({ label }) => label.endsWith('PRIVATE KEY'));
  if (blocks.length !== 1) {
    throw new UserError(`${file}: holds ${blocks.length} private keys in PEM, and one is wanted`);
  }
  let jwk: object;
  try {
    jwk = createPrivateKey(blocks[0]!.text).export({ format: 'jwk' });
  } catch (error) {
    throw new UserError(`${file}: the private key cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return parseOwnKey(JSON.stringify(jwk), file);
}
