import type { Labels } from '../policy/model.ts';
import { type Claims, RESERVED_LABEL_PREFIX } from './claims.ts';
import type { FederatedDomain, Federation, NamespaceMapping } from './federation.ts';

/** What the identity of a pod of another domain says here. */
export interface ForeignFacts {
  readonly foreignDomain: string;
  /** The local name of its namespace. */
  readonly namespace: string;
  readonly namespaceLabels: Labels;
  readonly labels: Labels;
  readonly podUid: string;
  readonly issuerKeyId: string;
  readonly expiresAt: number;
}

/**
 * Takes verified claims of another domain for what the mapping makes of them. `/` stands in no uid and in no thumbprint: what is made of them here equals
 * nothing that a pod or a key of this domain, or of a third one, is called.
 * @returns undefined when its namespace is not mapped: nobody is meant then
 */
export function foreignFacts(
  claims: Claims,
  domain: FederatedDomain,
  keyId: string,
): ForeignFacts | undefined {
  const mapping = domain.namespaces.get(claims.namespace);
  if (mapping === undefined) return undefined;
  const { trustDomain, maxTokenAge, validUntil = Number.POSITIVE_INFINITY } = domain;
  return {
    foreignDomain: trustDomain,
    namespace: mapping.as,
    namespaceLabels: mapping.labels,
    labels: countedLabels(claims.labels, mapping),
    podUid: `${trustDomain}/${claims.podUid}`,
    issuerKeyId: [trustDomain, keyId, claims.namespace, mapping.digest].join('/'),
    // Nobody tells here of pods of the other domain that are gone: the age of a token bounds how late that is noticed.
    expiresAt: Math.min(claims.expiresAt, claims.issuedAt + maxTokenAge, validUntil),
  };
}

/** Whether what {@link foreignFacts} made an identity of still stands: domain, key, and the mapping of its namespace as it was. */
export function stillFederated(federation: Federation, issuerKeyId: string, nowSeconds: number): boolean {
  const [trustDomain = '', keyId = '', namespace = '', digest = ''] = issuerKeyId.split('/');
  const domain = federation.get(trustDomain);
  return (
    domain !== undefined &&
    isValid(domain, nowSeconds) &&
    domain.keys.has(keyId) &&
    domain.namespaces.get(namespace)?.digest === digest
  );
}

/** When the first domain ceases to be believed by itself, seconds since the epoch; infinite: none does. */
export function firstEnd(federation: Federation): number {
  return Math.min(...[...federation.values()].map(({ validUntil = Number.POSITIVE_INFINITY }) => validUntil));
}

/** Whether the keys of a domain are not older than they may be. */
export function isValid({ validUntil }: FederatedDomain, nowSeconds: number): boolean {
  return validUntil === undefined || nowSeconds < validUntil;
}

/** The labels of a pod of another domain that count here. */
export function countedLabels(labels: Labels, { podLabels: counted }: NamespaceMapping): Labels {
  return Object.fromEntries(
    Object.entries(labels).filter(
      ([key]) => !key.startsWith(RESERVED_LABEL_PREFIX) && (counted === undefined || counted.has(key)),
    ),
  );
}
