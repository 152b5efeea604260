import type { Pod } from './pod.ts';
import { MODE_KEY } from '../sources/enforcement.ts';
import { GRANTS_ANNOTATION } from './names.ts';
import { listOfCidrs, listOfPorts } from './annotation-values.ts';

/** What a pod's author may only ask for where the namespace's owner grants it. */
export const GRANTS = ['exclusions', 'audit', 'nfqueue', 'keep-source-address', 'privileged'] as const;
export type Grant = (typeof GRANTS)[number];

/** Grants by which a sidecar keeps capabilities for its life (decision 42), and which. */
export const CAPABILITY_GRANTS = [
  { grant: 'nfqueue', capabilities: ['NET_ADMIN', 'NET_RAW'] },
  { grant: 'keep-source-address', capabilities: ['NET_RAW'] },
] as const satisfies readonly { grant: Grant; capabilities: readonly string[] }[];

export const DATA_PATH_KEY = 'countersign.io/data-path';
export const KEEP_SOURCE_KEY = 'countersign.io/keep-source-address';
export const EXCLUDE_INBOUND_PORTS = 'countersign.io/exclude-inbound-ports';
export const EXCLUDE_OUTBOUND_PORTS = 'countersign.io/exclude-outbound-ports';
export const EXCLUDE_OUTBOUND_CIDRS = 'countersign.io/exclude-outbound-cidrs';

/** What a pod asks of its sidecar, checked. */
export interface Wishes {
  readonly nfqueue: boolean;
  readonly keepSourceAddress: boolean;
  readonly excludeInboundPorts: readonly number[];
  readonly excludeOutboundPorts: readonly number[];
  readonly excludeOutboundCidrs: readonly string[];
}

/** The grants of a namespace; an unknown word is a problem, since whoever misspells one believes it given. */
export function grantsOf(annotations: Readonly<Record<string, string>>): {
  grants: ReadonlySet<Grant>;
  problems: string[];
} {
  const words = (annotations[GRANTS_ANNOTATION] ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
  const unknown = words.filter((word) => !GRANTS.some((grant) => grant === word));
  return {
    grants: new Set(GRANTS.filter((grant) => words.includes(grant))),
    problems: unknown.map(
      (word) =>
        `namespace annotation ${GRANTS_ANNOTATION}: ${JSON.stringify(word)} is none of ${GRANTS.join(', ')}`,
    ),
  };
}

/** Reads what the pod asks for. Each wish that the namespace does not grant, and each value that cannot be read, is a problem. */
export function wishesOf(pod: Pod, grants: ReadonlySet<Grant>): { wishes: Wishes; problems: string[] } {
  const problems: string[] = [];
  const value = (key: string): string | undefined =>
    pod.metadata?.annotations?.[key] ?? pod.metadata?.labels?.[key];
  const needs = (grant: Grant, key: string): void => {
    if (!grants.has(grant))
      problems.push(
        `${key}: only where the namespace grants it: its owner has to annotate it with ${GRANTS_ANNOTATION}=${grant}`,
      );
  };
  const word = <T extends string>(key: string, allowed: readonly T[]): T | undefined => {
    const text = value(key);
    const found = allowed.find((one) => one === text);
    if (text !== undefined && found === undefined)
      problems.push(`${key}: ${JSON.stringify(text)} is none of ${allowed.join(', ')}`);
    return found;
  };
  const list = <T>(key: string, read: (text: string) => T[] | string): T[] => {
    const text = value(key);
    if (text === undefined) return [];
    needs('exclusions', key);
    const found = read(text);
    if (typeof found !== 'string') return found;
    problems.push(`${key}: ${found}`);
    return [];
  };
  const nfqueue = word(DATA_PATH_KEY, ['redirect', 'nfqueue']) === 'nfqueue';
  if (nfqueue) needs('nfqueue', DATA_PATH_KEY);
  const keepSourceAddress = word(KEEP_SOURCE_KEY, ['true', 'false']) === 'true';
  if (keepSourceAddress) needs('keep-source-address', KEEP_SOURCE_KEY);
  if (keepSourceAddress && nfqueue)
    problems.push(
      `${KEEP_SOURCE_KEY}: belongs to ${DATA_PATH_KEY}: redirect; with nfqueue packets keep their addresses`,
    );
  if (word(MODE_KEY, ['enforce', 'audit']) === 'audit') needs('audit', MODE_KEY);
  return {
    wishes: {
      nfqueue,
      keepSourceAddress,
      excludeInboundPorts: list(EXCLUDE_INBOUND_PORTS, listOfPorts),
      excludeOutboundPorts: list(EXCLUDE_OUTBOUND_PORTS, listOfPorts),
      excludeOutboundCidrs: list(EXCLUDE_OUTBOUND_CIDRS, listOfCidrs),
    },
    problems,
  };
}
