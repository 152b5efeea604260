import { createPrivateKey, X509Certificate } from 'node:crypto';
import { messageOf, UserError } from '../errors.ts';
import type { RotationPolicy } from '../rotation/schedule.ts';
import type { CertificateAuthority } from './certificate-authority.ts';

const DAY = 86_400;

/** Of the authority over serving certificates. Its certificates are renewed daily, so they outlive no overlap. */
export const CA_ROTATION: RotationPolicy = { period: 90 * DAY, overlap: 2 * DAY, life: 2 * DAY };

/** Life of a serving certificate, and the age at which it is renewed, seconds. */
export const SERVING = { lifetime: DAY, renewAfter: DAY / 3 } as const;

/** The data of the Secret: `ca-<createdAt>.crt` and `.key`, and `ca.crt` with all certificates for people and volumes. */
export function encodeAuthorities(authorities: readonly CertificateAuthority[]): Record<string, string> {
  const pairs = authorities.flatMap(({ createdAt, certificate, key }) => [
    [`ca-${createdAt}.crt`, certificate],
    [`ca-${createdAt}.key`, key],
  ]);
  return {
    ...Object.fromEntries(pairs),
    'ca.crt': authorities.map(({ certificate }) => certificate).join(''),
  };
}

/** Reads what {@link encodeAuthorities} wrote. Throws a `UserError` that names the field. */
export function decodeAuthorities(data: Readonly<Record<string, string>>): CertificateAuthority[] {
  const found: CertificateAuthority[] = [];
  for (const [field, certificate] of Object.entries(data)) {
    const createdAt = Number(/^ca-(\d{1,12})\.crt$/.exec(field)?.[1]);
    if (!Number.isInteger(createdAt)) continue;
    const key = data[`ca-${createdAt}.key`];
    if (key === undefined) throw new UserError(`ca-${createdAt}.key is missing`);
    try {
      const parsed = new X509Certificate(certificate);
      if (!parsed.ca || !parsed.checkPrivateKey(createPrivateKey(key)))
        throw new Error('key and certificate differ');
    } catch (error) {
      throw new UserError(`${field} is no certificate authority: ${messageOf(error)}`);
    }
    found.push({ createdAt, certificate, key });
  }
  return found;
}
