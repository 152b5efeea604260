import { issueToken, type SigningKey } from '../../src/identity/issue.ts';
import { generateIssuer, generateOwnKey, parseIssuerKey } from '../../src/identity/keys.ts';
import { parseTrustBundle } from '../../src/identity/trust.ts';
import type { Pod } from '../../src/peers/directory.ts';

/** Seconds since the epoch. */
export const NOW = 1_800_000_000;
export const DOMAIN = 'cluster.local';

/** The key pair that the sample tokens name. */
export const OWN_KEY = generateOwnKey();

export function samplePod(over: Partial<Pod> = {}): Pod {
  return {
    namespace: 'shop',
    name: 'web-7d4b9c6f5-x2x9z',
    uid: '0b1f4d52-6a31-4a6f-9a38-1d7f3f6b1c11',
    serviceAccount: 'web',
    labels: { app: 'web' },
    addresses: [],
    nodeName: undefined,
    ports: [],
    probePorts: [],
    enrolled: true,
    hostNetwork: false,
    ...over,
  };
}

/** A trust domain of its own, with the texts of its files. */
export function sampleDomain(name = DOMAIN) {
  const made = generateIssuer(name);
  const issuer = JSON.stringify(made.issuer);
  const bundle = JSON.stringify(made.bundle);
  return {
    issuer,
    bundle,
    publicJwk: (made.bundle as { keys: JsonWebKey[] }).keys[0]!,
    signer: parseIssuerKey(issuer, 'issuer.jwk'),
    trust: parseTrustBundle(bundle, 'trust.jwks'),
  };
}

export function sampleToken(signer: SigningKey, pod = samplePod(), now = NOW, ttl = 3600): Promise<string> {
  return issueToken(signer, pod, { team: 'storefront' }, OWN_KEY.publicKey, now, ttl);
}

type JsonWebKey = Record<string, unknown>;
