import type { JsonWebKey } from 'node:crypto';
import { UserError } from '../errors.ts';
import { generateIssuer, parseIssuerKey } from '../identity/keys.ts';
import type { SigningKey } from '../identity/issue.ts';
import { RotationKeeper } from '../rotation/keeper.ts';
import type { Generation, RotationPolicy } from '../rotation/schedule.ts';
import type { SharedObject } from '../rotation/shared-object.ts';

const DAY = 86_400;

/** Of issuer keys. `life` is longer than any identity (24 h) with the tolerated difference of clocks. */
export const SIGNING_ROTATION: RotationPolicy = { period: 30 * DAY, overlap: DAY, life: DAY + 3600 };

export interface SigningGeneration extends Generation {
  readonly signer: SigningKey;
  /** The private JWK with `trust_domain`, as `identity init` writes it. */
  readonly jwk: string;
}

/** The issuer keys of a trust domain, in a Secret that replicas share. */
export function signingKeys(
  trustDomain: string,
  object: SharedObject,
  options: { readonly now?: () => number; readonly onProblem?: (problem: string) => void } = {},
): RotationKeeper<SigningGeneration> {
  return new RotationKeeper<SigningGeneration>({
    object,
    policy: SIGNING_ROTATION,
    make: (createdAt) => {
      const jwk = JSON.stringify(generateIssuer(trustDomain).issuer);
      return Promise.resolve({ createdAt, jwk, signer: parseIssuerKey(jwk, 'a new key') });
    },
    decode: (data) => Promise.resolve(decodeKeys(data, trustDomain, object.name)),
    encode: (generations) =>
      Object.fromEntries(generations.map(({ createdAt, jwk }) => [`key-${createdAt}.jwk`, jwk])),
    ...options,
  });
}

function decodeKeys(
  data: Readonly<Record<string, string>>,
  trustDomain: string,
  name: string,
): SigningGeneration[] {
  return Object.entries(data).flatMap(([field, jwk]) => {
    const createdAt = Number(/^key-(\d{1,12})\.jwk$/.exec(field)?.[1]);
    if (!Number.isInteger(createdAt)) return [];
    const signer = parseIssuerKey(jwk, `${name} ${field}`);
    if (signer.trustDomain !== trustDomain) {
      throw new UserError(
        `${name} ${field} is of the trust domain ${signer.trustDomain}, not ${trustDomain}: delete the Secret if the domain was renamed`,
      );
    }
    return [{ createdAt, signer, jwk }];
  });
}

/** The trust bundle of published keys: what sidecars believe. */
export function trustBundleOf(trustDomain: string, published: readonly SigningGeneration[]): object {
  const keys = published.map(({ jwk }) => {
    const { kty, crv, x, y, kid } = JSON.parse(jwk) as JsonWebKey & { kid: string };
    return { kty, crv, x, y, kid, alg: 'ES256', use: 'sig' };
  });
  return { trust_domain: trustDomain, keys };
}
