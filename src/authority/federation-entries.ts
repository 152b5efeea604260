import { UserError } from '../errors.ts';
import { parseObject, parseTrustBundle } from '../identity/trust.ts';
import type { DomainSetting } from './federation-settings.ts';

/** Keys of another domain as they were told last. */
export interface ToldKeys {
  /** Public JWKs. */
  readonly keys: readonly object[];
  /** Seconds since the epoch. */
  readonly at: number;
  /** PEM: by which certificates the server says that it is to be believed besides those of the file: its authority rotates. */
  readonly authorities?: string;
}

/**
 * Reads what a server or a file says are the keys of a domain: its trust bundle. Nothing else that stands in there counts, least of all whom that domain
 * believes. Throws a `UserError`.
 */
export function keysIn(text: string, name: string, trustDomain: string): readonly object[] {
  const bundle = parseTrustBundle(text, name);
  if (bundle.trustDomain !== trustDomain) {
    throw new UserError(`${name}: trust_domain is ${bundle.trustDomain}, asked was for ${trustDomain}`);
  }
  return (parseObject(text, name)['keys'] as Record<string, unknown>[]).map(({ kty, crv, x, y }) => ({
    kty,
    crv,
    x,
    y,
  }));
}

/** The certificates that a believed server names beside its keys, as an authority does. */
export function authoritiesIn(text: string, name: string): string | undefined {
  const { authorities } = parseObject(text, name);
  const usable =
    typeof authorities === 'string' &&
    authorities.length <= MOST_AUTHORITIES &&
    authorities.includes('-----BEGIN CERTIFICATE-----');
  return usable ? authorities : undefined;
}

const MOST_AUTHORITIES = 32 << 10;

/**
 * The entry of a domain in trust bundles. Without keys that may be believed it says so: its pods are still called with a preamble or not at all.
 * @param told the last keys of a domain whose keys do not stand in the settings
 * @param now seconds since the epoch
 */
export function entryOf({ entry, source }: DomainSetting, told: ToldKeys | undefined, now: number): object {
  if (source.kind === 'inline') return { ...entry, keys: source.keys };
  if (told === undefined) return { ...entry, keys: [] };
  if (source.kind === 'file') return { ...entry, keys: told.keys };
  const validUntil = validUntilOf(told.at, source.ttl);
  return now < validUntil ? { ...entry, keys: told.keys, valid_until: validUntil } : { ...entry, keys: [] };
}

/**
 * When keys that were told at a time cease to be believed: between half a life and a whole one later. In steps of half a life, so that sidecars are not told
 * anew with every look, and replicas that looked at different moments say the same.
 */
export function validUntilOf(at: number, ttl: number): number {
  const step = Math.floor(ttl / 2);
  return Math.floor((at + ttl) / step) * step;
}
