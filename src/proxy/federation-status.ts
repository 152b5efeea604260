import type { IdentityKeeper } from '../identity/identity-keeper.ts';

/** The other trust domains that are known, for whoever may open the admin socket. @param now seconds since the epoch */
export function federationStatus({ federation }: Pick<IdentityKeeper, 'federation'>, now: number): object[] {
  return [...federation.values()].map(({ trustDomain, keys, namespaces, maxTokenAge, validUntil }) => ({
    trustDomain,
    believed: keys.size > 0 && namespaces.size > 0 && (validUntil === undefined || now < validUntil),
    keys: [...keys.keys()],
    namespaces: Object.fromEntries([...namespaces].map(([name, { as }]) => [name, as])),
    maxTokenAge,
    validUntil: validUntil ?? null,
  }));
}
