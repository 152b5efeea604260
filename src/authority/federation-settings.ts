import { parse } from 'yaml';
import { messageOf, UserError } from '../errors.ts';
import { parseFederation } from '../identity/federation.ts';
import { issuerKeysOf } from '../identity/trust.ts';

/** Where the keys of another domain come from. */
export type KeysSource =
  | { readonly kind: 'inline'; readonly keys: readonly object[] }
  /** A trust bundle in a file. */
  | { readonly kind: 'file'; readonly file: string }
  /** A trust bundle that a server tells, such as `/v1/jwks` of the other domain's authority. */
  | {
      readonly kind: 'url';
      readonly url: string;
      /** PEM; whoever it does not vouch for is not asked. */
      readonly caFile: string;
      readonly serverName: string | undefined;
      /** Seconds between two looks, */
      readonly refresh: number;
      /** and how long the keys of one look are believed. */
      readonly ttl: number;
    };

/** One other domain, as the administrator of this one says. */
export interface DomainSetting {
  readonly trustDomain: string;
  /** The entry in trust bundles, but for its keys. */
  readonly entry: Readonly<Record<string, unknown>>;
  readonly localNamespaces: ReadonlySet<string> | undefined;
  readonly source: KeysSource;
}

const SOURCES = ['keys', 'keys_file', 'keys_url'] as const;
const URL_ONLY = ['ca_file', 'server_name', 'refresh', 'keys_ttl'] as const;
const USUAL_REFRESH = 300;
const USUAL_TTL = 86_400;
const LEAST_TTL = 60;
const LONGEST_TTL = 30 * 86_400;
const MOST_NAME = 253;

/**
 * Reads what `--federation` names: YAML or JSON, a list `federation` of the entries of docs/federation.md, with a place from which keys come where they do not
 * stand there.
 * @param name the file's name, for errors
 * @param own this trust domain
 * Throws a `UserError` with file, field and remedy.
 */
export function parseFederationSettings(text: string, name: string, own: string): DomainSetting[] {
  const root = objectIn(text, name);
  const unknown = Object.keys(root).find((key) => key !== 'federation');
  if (unknown !== undefined) {
    throw new UserError(
      `${name}: ${unknown.slice(0, 60)} is not known: is it misspelt? It holds 'federation', a list`,
    );
  }
  const listed = root['federation'] ?? [];
  if (!Array.isArray(listed)) throw new UserError(`${name}: federation has to be a list of trust domains`);
  const read = listed.map((entry: unknown, index) => readSetting(entry, `${name}: federation[${index}]`));
  const readKeys = (keys: unknown, field: string) => issuerKeysOf(keys, name, field);
  // With the keys that stand there; of others it is not known yet how many there are.
  const entries = read.map(({ entry, source }) => ({
    ...entry,
    keys: source.kind === 'inline' ? source.keys : [],
  }));
  const checked = [...parseFederation(entries, name, { trustDomain: own, keys: 0 }, readKeys).values()];
  return read.map((setting, index) => {
    const { trustDomain, localNamespaces } = checked[index]!;
    return { ...setting, trustDomain, localNamespaces };
  });
}

function readSetting(value: unknown, at: string): Pick<DomainSetting, 'entry' | 'source'> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new UserError(`${at} has to be an object with trust_domain, keys_url and namespaces`);
  }
  const { keys, keys_file, keys_url, ca_file, server_name, refresh, keys_ttl, ...entry } = value as Record<
    string,
    unknown
  >;
  const given = SOURCES.filter((member) => (value as Record<string, unknown>)[member] !== undefined);
  if (given.length !== 1) {
    throw new UserError(
      `${at} has to have one of ${SOURCES.join(', ')}; it has ${given.join(' and ') || 'none'}`,
    );
  }
  if (keys_url === undefined) {
    const stray = URL_ONLY.find((member) => (value as Record<string, unknown>)[member] !== undefined);
    if (stray !== undefined) throw new UserError(`${at}.${stray} belongs to keys_url: take it out`);
  }
  // An administrator takes a domain away; this is for keys that are believed.
  if (entry['valid_until'] !== undefined) {
    throw new UserError(`${at}.valid_until is what keys_ttl makes: take it out`);
  }
  if (keys !== undefined) {
    if (Array.isArray(keys)) return { entry, source: { kind: 'inline', keys: keys as object[] } };
    throw new UserError(`${at}.keys has to be a list of public keys, as in the trust bundle of the domain`);
  }
  if (keys_file !== undefined) {
    return { entry, source: { kind: 'file', file: pathIn(keys_file, `${at}.keys_file`) } };
  }
  const url = typeof keys_url === 'string' && URL.canParse(keys_url) ? new URL(keys_url) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.hash !== '') {
    throw new UserError(`${at}.keys_url has to be like https://authority.east.example:14443/v1/jwks`);
  }
  if (ca_file === undefined) {
    throw new UserError(
      `${at}.ca_file is missing: name the PEM file of who vouches for ${url.host}, and nobody else`,
    );
  }
  if (server_name !== undefined && !(typeof server_name === 'string' && SERVER_NAME.test(server_name))) {
    throw new UserError(`${at}.server_name has to be the name in the server's certificate`);
  }
  const ttl = seconds(keys_ttl ?? USUAL_TTL, LEAST_TTL, LONGEST_TTL, `${at}.keys_ttl`);
  const pause = seconds(refresh ?? Math.min(USUAL_REFRESH, Math.floor(ttl / 4)), 1, ttl / 4, `${at}.refresh`);
  return {
    entry,
    source: {
      kind: 'url',
      url: url.href,
      caFile: pathIn(ca_file, `${at}.ca_file`),
      serverName: server_name,
      refresh: pause,
      ttl,
    },
  };
}

const SERVER_NAME = /^[A-Za-z0-9]([-.A-Za-z0-9]{0,251}[A-Za-z0-9])?$/;

function pathIn(value: unknown, at: string): string {
  if (typeof value === 'string' && value !== '' && value.length <= MOST_NAME && !value.includes('\0'))
    return value;
  throw new UserError(`${at} has to be the name of a file, beside this one or with its whole path`);
}

function seconds(value: unknown, least: number, most: number, at: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new UserError(`${at} has to be a whole number of seconds from ${least} to ${Math.floor(most)}`);
}

function objectIn(text: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0, logLevel: 'error' });
  } catch (error) {
    throw new UserError(`${name}: ${messageOf(error).split('\n', 1)[0]}`, { cause: error });
  }
  if (value === null || value === undefined) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new UserError(`${name}: has to hold 'federation', a list of trust domains`);
}
