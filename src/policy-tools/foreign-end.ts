import { parse } from 'yaml';
import { messageOf, UserError } from '../errors.ts';
import { type FederatedDomain, type Federation, parseFederation } from '../identity/federation.ts';
import { countedLabels } from '../identity/foreign-identity.ts';
import type { Party, PodParty } from '../policy/judge.ts';
import type { Labels } from '../policy/model.ts';
import { labelKeyFault, labelValueFault } from '../policy/syntax.ts';

/** Where keys come from is of no matter to policy. */
const OF_KEYS = new Set(['keys', 'keys_file', 'keys_url', 'ca_file', 'server_name', 'refresh', 'keys_ttl']);

/**
 * Reads whom a trust bundle, or what an authority's `--federation` names, takes pods of other domains for.
 * @param file its name, for errors
 * Throws a `UserError` with file, field and remedy.
 */
export function readFederation(text: string, file: string): Federation {
  let root: { trust_domain?: unknown; federation?: unknown } | null;
  try {
    root = parse(text, { maxAliasCount: 0, logLevel: 'error' }) as typeof root;
  } catch (error) {
    throw new UserError(`${file}: ${messageOf(error).split('\n', 1)[0]}`, { cause: error });
  }
  const listed: unknown = root?.federation;
  if (!Array.isArray(listed) || listed.length === 0) {
    throw new UserError(`${file}: holds no other trust domain: it needs a list 'federation'`);
  }
  const entries = listed.map((entry: unknown) =>
    typeof entry === 'object' && entry !== null && !Array.isArray(entry)
      ? { ...Object.fromEntries(Object.entries(entry).filter(([key]) => !OF_KEYS.has(key))), keys: [] }
      : entry,
  );
  const own = typeof root?.trust_domain === 'string' ? root.trust_domain : '';
  return parseFederation(entries, file, { trustDomain: own, keys: 0 }, () => new Map());
}

/**
 * The pod of another domain that somebody means by `DOMAIN/NAMESPACE/POD`, as this cluster takes it.
 * @param labels as its own cluster has them: `app=web,tier=front`
 * @returns undefined: no domain of that name is known, so something else is meant
 * Throws a `UserError` that names the flag where the domain is known and nobody is meant all the same.
 */
export function findForeignEnd(
  text: string,
  flag: string,
  federation: Federation,
  labels: string | undefined,
): PodParty | undefined {
  const [trustDomain = '', namespace = '', pod = '', ...more] = text.split('/');
  const domain = federation.get(trustDomain);
  if (domain === undefined) return undefined;
  if (namespace === '' || pod === '' || more.length > 0) {
    throw new UserError(`${flag} ${text}: write ${trustDomain}/NAMESPACE/POD, as they are called there`);
  }
  const mapping = domain.namespaces.get(namespace);
  if (mapping === undefined) {
    const known = [...domain.namespaces.keys()].slice(0, 5).join(', ') || 'none';
    throw new UserError(
      `${flag} ${text}: the namespace ${namespace} of ${trustDomain} is not mapped, so its pods are refused as foreign-domain, whatever policy says; mapped are: ${known}`,
    );
  }
  return {
    kind: 'pod',
    namespace: mapping.as,
    name: pod,
    labels: countedLabels(parseLabels(labels ?? '', `${flag}-labels`), mapping),
    namespaceLabels: mapping.labels,
    // Routers stand between: what address a call comes from, or goes to, is not the pod's.
    addresses: [],
    namedPorts: [],
    foreignDomain: trustDomain,
  };
}

/** Whether the pods of a namespace here know the domain of the other end. Throws a `UserError` where they do not. */
export function checkKnown(own: Party, other: Party, federation: Federation): void {
  if (own.kind !== 'pod' || other.kind !== 'pod' || other.foreignDomain === undefined) return;
  const { localNamespaces }: FederatedDomain = federation.get(other.foreignDomain)!;
  if (localNamespaces?.has(own.namespace) !== false) return;
  throw new UserError(
    `${own.namespace}/${own.name} does not know ${other.foreignDomain}, so a call is refused as foreign-domain, whatever policy says; local_namespaces has ${[...localNamespaces].slice(0, 5).join(', ')}`,
  );
}

function parseLabels(text: string, flag: string): Labels {
  const pairs = text
    .split(',')
    .filter((one) => one !== '')
    .map((pair) => {
      const [key = '', value, ...more] = pair.split('=');
      if (value === undefined || more.length > 0) {
        throw new UserError(`${flag} ${text}: «${pair}» is no label; write app=web,tier=front`);
      }
      const fault = labelKeyFault(key) ?? labelValueFault(value);
      if (fault !== undefined) throw new UserError(`${flag} ${text}: in «${pair}» ${fault}`);
      return [key, value] as const;
    });
  return Object.fromEntries(pairs);
}
