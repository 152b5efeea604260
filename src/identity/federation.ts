import { createHash, type KeyObject } from 'node:crypto';
import { UserError } from '../errors.ts';
import { parseAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, cidrCovers, parseCidr } from '../lib/cidr.ts';
import type { Labels } from '../policy/model.ts';
import { NAMESPACE_NAME_LABEL } from '../policy/selector.ts';
import { dnsLabelFault, dnsSubdomainFault, labelKeyFault, labelValueFault } from '../policy/syntax.ts';
import { isTrustDomain, MAX_LIFETIME, RESERVED_LABEL_PREFIX } from './claims.ts';

/** What one namespace of another domain is here. */
export interface NamespaceMapping {
  /** Its name in this cluster. It has a dot, which no namespace of Kubernetes has: it can be none of them. */
  readonly as: string;
  /** Its labels in this cluster, the name included: none of them is the other domain's word. */
  readonly labels: Labels;
  /** Keys of the pod labels that count; undefined: all but those of issuers. */
  readonly podLabels: ReadonlySet<string> | undefined;
  /** Of all that stands above: another mapping has another one. */
  readonly digest: string;
}

/** Another trust domain whose pods may be taken for somebody, and for whom. */
export interface FederatedDomain {
  readonly trustDomain: string;
  /** By RFC 7638 thumbprint. They verify tokens of this domain alone. */
  readonly keys: ReadonlyMap<string, KeyObject>;
  /** Where its pods are called. */
  readonly networks: readonly Cidr[];
  /** By the name that the other domain gives them. What is not in here is nobody. */
  readonly namespaces: ReadonlyMap<string, NamespaceMapping>;
  /** Namespaces of this cluster whose pods know the domain; undefined: all. */
  readonly localNamespaces: ReadonlySet<string> | undefined;
  /** Seconds: no token is believed longer behind its `iat`. */
  readonly maxTokenAge: number;
  /** When its keys cease to be believed, seconds since the epoch; undefined: they stand until they are taken away. */
  readonly validUntil: number | undefined;
}

/** By trust domain. One without keys or without namespaces believes nobody, and is still nobody to be called in plain. */
export type Federation = ReadonlyMap<string, FederatedDomain>;

/** What is read of the keys of a domain: it depends on where they stand. */
export type ReadKeys = (listed: unknown, field: string) => ReadonlyMap<string, KeyObject>;

const MOST_DOMAINS = 16;
/** Each is one more MAC for a stranger's Hello. */
const MOST_KEYS_IN_ALL = 32;
const MOST_NAMESPACES = 256;
const MOST_NETWORKS = 64;
const MOST_LABELS = 32;
/** Four hours, the life of identities unless an authority is told otherwise. */
const USUAL_TOKEN_AGE = 4 * 3600;
const LEAST_TOKEN_AGE = 60;
const MEMBERS = new Set([
  'trust_domain',
  'keys',
  'networks',
  'namespaces',
  'local_namespaces',
  'max_token_age',
  'valid_until',
]);
const NAMESPACE_MEMBERS = new Set(['name', 'as', 'labels', 'pod_labels']);

/**
 * Reads `federation`: the list of other domains in a trust bundle.
 * @param own what must not be federated: the domain of the bundle, and how many keys it has itself
 * @param readKeys throws a `UserError` for what are no keys
 * @param onBad told of an entry that cannot be read. Of such a one the networks alone count: nobody there is believed, and nobody is called there in
 * plain. Without it, and where not even those can be read, it throws a `UserError` with file, field and remedy.
 */
export function parseFederation(
  listed: unknown,
  name: string,
  own: { readonly trustDomain: string; readonly keys: number },
  readKeys: ReadKeys,
  onBad?: (problem: string) => void,
): Federation {
  const found = new Map<string, FederatedDomain>();
  if (listed === undefined) return found;
  if (!Array.isArray(listed) || listed.length > MOST_DOMAINS) {
    throw new UserError(`${name}: federation has to be a list of at most ${MOST_DOMAINS} trust domains`);
  }
  let keys = own.keys;
  for (const [index, entry] of listed.entries()) {
    const bad: Bad = (field, what) => new UserError(`${name}: federation[${index}]${field} ${what}`);
    const take = (domain: FederatedDomain): void => {
      if (domain.trustDomain === own.trustDomain) {
        throw bad('.trust_domain', `is ${own.trustDomain}, the own one: take the entry out`);
      }
      if (found.has(domain.trustDomain)) {
        throw bad('.trust_domain', `${domain.trustDomain} is there twice: make one entry of the two`);
      }
      if (keys + domain.keys.size > MOST_KEYS_IN_ALL) {
        throw bad('.keys', `makes more than ${MOST_KEYS_IN_ALL} keys in all: federate fewer domains`);
      }
      const rival = [...found.values()].find((one) => overlap(one.networks, domain.networks));
      if (rival !== undefined) {
        throw bad(
          '.networks',
          `overlaps with that of ${rival.trustDomain}: an address has to mean one domain`,
        );
      }
      keys += domain.keys.size;
      found.set(domain.trustDomain, domain);
    };
    const keysOf = (value: unknown): ReadonlyMap<string, KeyObject> =>
      Array.isArray(value) && value.length === 0 ? new Map() : readKeys(value, `federation[${index}].keys`);
    try {
      take(readDomain(entry, bad, keysOf));
    } catch (error) {
      if (onBad === undefined || !(error instanceof UserError)) throw error;
      onBad(error.message);
      const { trust_domain, networks } = object(entry) ?? {};
      take(readDomain({ trust_domain, networks, keys: [], namespaces: [] }, bad, keysOf));
    }
  }
  return found;
}

type Bad = (field: string, what: string) => UserError;

function readDomain(
  entry: unknown,
  bad: Bad,
  readKeys: (value: unknown) => ReadonlyMap<string, KeyObject>,
): FederatedDomain {
  const fields = object(entry) ?? fail(bad('', 'has to be an object with trust_domain, keys and namespaces'));
  // A member that is not understood may be one that narrows.
  const unknown = Object.keys(fields).find((key) => !MEMBERS.has(key));
  if (unknown !== undefined) throw bad(`.${unknown.slice(0, 60)}`, 'is not known: is it misspelt?');
  const trustDomain = fields['trust_domain'];
  if (typeof trustDomain !== 'string' || !isTrustDomain(trustDomain)) {
    throw bad(
      '.trust_domain',
      'has to be a name like east.example: lower case letters, digits, dots, dashes',
    );
  }
  const keys = readKeys(fields['keys']);
  const maxTokenAge = fields['max_token_age'] ?? USUAL_TOKEN_AGE;
  if (!isWhole(maxTokenAge) || maxTokenAge < LEAST_TOKEN_AGE || maxTokenAge > MAX_LIFETIME) {
    throw bad('.max_token_age', `has to be a number of seconds from ${LEAST_TOKEN_AGE} to ${MAX_LIFETIME}`);
  }
  const validUntil = fields['valid_until'];
  if (validUntil !== undefined && !isWhole(validUntil)) {
    throw bad('.valid_until', 'has to be a time in seconds since the epoch, or left out');
  }
  return {
    trustDomain,
    keys,
    networks: readNetworks(fields['networks'], bad),
    namespaces: readNamespaces(fields['namespaces'], bad),
    localNamespaces: readLocalNamespaces(fields['local_namespaces'], bad),
    maxTokenAge,
    validUntil,
  };
}

function readNetworks(value: unknown, bad: Bad): readonly Cidr[] {
  const listed = value ?? [];
  if (!Array.isArray(listed) || listed.length > MOST_NETWORKS) {
    throw bad('.networks', `has to be a list of at most ${MOST_NETWORKS} blocks like 192.0.2.0/24`);
  }
  return listed.map((text: unknown, index) => {
    const block = typeof text === 'string' ? parseCidr(text) : undefined;
    if (block === undefined) throw bad(`.networks[${index}]`, 'is no block: write it as 192.0.2.0/24');
    if (block.prefix > 0) return block;
    throw bad(`.networks[${index}]`, 'is every address: name those where the pods of the domain are called');
  });
}

function readLocalNamespaces(value: unknown, bad: Bad): ReadonlySet<string> | undefined {
  if (value === undefined) return undefined;
  const isName = (one: unknown): boolean => typeof one === 'string' && dnsLabelFault(one) === undefined;
  if (Array.isArray(value) && value.length > 0 && value.length <= MOST_NAMESPACES && value.every(isName)) {
    return new Set(value as string[]);
  }
  throw bad(
    '.local_namespaces',
    `has to be a list of 1 to ${MOST_NAMESPACES} namespaces of this cluster, or left out: then all know the domain`,
  );
}

function readNamespaces(value: unknown, bad: Bad): ReadonlyMap<string, NamespaceMapping> {
  if (!Array.isArray(value) || value.length > MOST_NAMESPACES) {
    throw bad(
      '.namespaces',
      `has to be a list of at most ${MOST_NAMESPACES} mappings like {"name": "shop", "as": "shop.east"}`,
    );
  }
  const found = new Map<string, NamespaceMapping>();
  for (const [index, entry] of value.entries()) {
    const at = `.namespaces[${index}]`;
    const fields = object(entry) ?? fail(bad(at, 'has to be an object with name and as'));
    const unknown = Object.keys(fields).find((key) => !NAMESPACE_MEMBERS.has(key));
    if (unknown !== undefined) throw bad(`${at}.${unknown.slice(0, 60)}`, 'is not known: is it misspelt?');
    const { name, as, labels = {}, pod_labels: podLabels } = fields;
    if (typeof name !== 'string' || dnsLabelFault(name) !== undefined) {
      throw bad(`${at}.name`, 'has to be the name of a namespace in the other domain');
    }
    if (found.has(name)) throw bad(`${at}.name`, `${name} is there twice: make one mapping of the two`);
    if (
      typeof as !== 'string' ||
      as.length > 63 ||
      !as.includes('.') ||
      dnsSubdomainFault(as) !== undefined
    ) {
      throw bad(
        `${at}.as`,
        `has to be a name with a dot, of at most 63 characters, like ${name}.east: so it can be no namespace of this cluster`,
      );
    }
    found.set(name, mapping(as, readLabels(labels, `${at}.labels`, bad), podLabelsOf(podLabels, at, bad)));
  }
  return found;
}

function readLabels(value: unknown, at: string, bad: Bad): Labels {
  const fields = object(value) ?? fail(bad(at, 'has to be an object of labels'));
  if (Object.keys(fields).length > MOST_LABELS) throw bad(at, `has more than ${MOST_LABELS} labels`);
  for (const [key, label] of Object.entries(fields)) {
    const of = `${at}[${JSON.stringify(key.slice(0, 80))}]`;
    if (key === NAMESPACE_NAME_LABEL || key.startsWith(RESERVED_LABEL_PREFIX)) {
      throw bad(of, `cannot be given: the name is what 'as' says, ${RESERVED_LABEL_PREFIX} is for issuers`);
    }
    const fault =
      labelKeyFault(key) ?? (typeof label === 'string' ? labelValueFault(label) : 'has to be a text');
    if (fault !== undefined) throw bad(of, fault);
  }
  return fields as Record<string, string>;
}

function podLabelsOf(value: unknown, at: string, bad: Bad): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const isKey = (one: unknown): boolean =>
    typeof one === 'string' && labelKeyFault(one) === undefined && !one.startsWith(RESERVED_LABEL_PREFIX);
  if (Array.isArray(value) && value.length <= MOST_LABELS && value.every(isKey)) return value as string[];
  throw bad(
    `${at}.pod_labels`,
    `has to be a list of at most ${MOST_LABELS} label keys, or left out: then all count`,
  );
}

function mapping(as: string, given: Labels, podLabels: readonly string[] | undefined): NamespaceMapping {
  const labels = { ...given, [NAMESPACE_NAME_LABEL]: as };
  const sorted = Object.entries(labels).toSorted(([one], [other]) => (one < other ? -1 : 1));
  const text = JSON.stringify([as, sorted, podLabels?.toSorted() ?? null]);
  const digest = createHash('sha256').update(text).digest('base64url').slice(0, 22);
  return { as, labels, podLabels: podLabels && new Set(podLabels), digest };
}

/** The domain in whose networks an address lies; undefined: in none. */
export function domainAt(federation: Federation, address: string): string | undefined {
  if (federation.size === 0) return undefined;
  const parsed = parseAddress(address);
  if (parsed === undefined) return undefined;
  for (const { trustDomain, networks } of federation.values()) {
    if (networks.some((block) => cidrContains(block, parsed))) return trustDomain;
  }
  return undefined;
}

function overlap(some: readonly Cidr[], others: readonly Cidr[]): boolean {
  return some.some((one) =>
    others.some((other) => one.family === other.family && (cidrCovers(one, other) || cidrCovers(other, one))),
  );
}

function object(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

function isWhole(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0;
}

function fail(error: UserError): never {
  throw error;
}
