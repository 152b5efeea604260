import { parseFederatedTrust } from '../../src/identity/trust.ts';
import { TrustInForce } from '../../src/identity/trust-in-force.ts';
import type { Revocations } from '../../src/identity/revocations.ts';
import { DOMAIN, sampleDomain } from './samples.ts';

export const EAST = 'east.example';

export type Entry = Record<string, unknown>;

/** The entry of another domain in a trust bundle, with its `shop` mapped to `shop.east`. */
export function entryOf(domain: ReturnType<typeof sampleDomain>, over: Entry = {}): Entry {
  return {
    trust_domain: domain.signer.trustDomain,
    keys: [domain.publicJwk],
    networks: ['203.0.113.0/24'],
    namespaces: [{ name: 'shop', as: 'shop.east', labels: { side: 'east' } }],
    ...over,
  };
}

/** The text of a trust bundle of `own` that federates with others. */
export function federatedText(own: ReturnType<typeof sampleDomain>, ...entries: unknown[]): string {
  return JSON.stringify({ trust_domain: own.signer.trustDomain, keys: [own.publicJwk], federation: entries });
}

/** Two domains, of which the own one believes the other. */
export function twoDomains(over: Entry = {}, revocations?: Revocations) {
  const [own, east] = [sampleDomain(DOMAIN), sampleDomain(EAST)];
  const bundle = parseFederatedTrust(federatedText(own, entryOf(east, over)), 'trust.jwks');
  return { own, east, bundle, trust: new TrustInForce(bundle, revocations) };
}
