import type { Pod } from './pod.ts';
import { MODE_KEY } from '../sources/enforcement.ts';
import { GRANTS_ANNOTATION } from './names.ts';
import { listOfCidrs, listOfPorts } from './annotation-values.ts';

/** What a pod's author may only ask for where the namespace's owner grants it. */
export const GRANTS = ['exclusions', 'audit', 'privileged'] as const;
export type Grant = (typeof GRANTS)[number];

export const DATA_PATH_KEY = 'countersign.io/data-path';
export const KEEP_SOURCE_KEY = 'countersign.io/keep-source-address';
export const EXCLUDE_INBOUND_PORTS = 'countersign.io/exclude-inbound-ports';
export const EXCLUDE_OUTBOUND_PORTS = 'countersign.io/exclude-outbound-ports';
export const EXCLUDE_OUTBOUND_CIDRS = 'countersign.io/exclude-outbound-cidrs';

/** What a pod asks of its sidecar, checked. */
export interface Wishes {
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
  // Both need a capability for the sidecar's life, and a capability given to a container that is not root does not take effect.
  const unavailable = (key: string): void =>
    void problems.push(`${key}: not available in injected pods yet; leave it away (docs/injection.md)`);
  if (word(DATA_PATH_KEY, ['redirect', 'nfqueue']) === 'nfqueue') unavailable(DATA_PATH_KEY);
  if (word(KEEP_SOURCE_KEY, ['true', 'false']) === 'true') unavailable(KEEP_SOURCE_KEY);
  if (word(MODE_KEY, ['enforce', 'audit']) === 'audit') needs('audit', MODE_KEY);
  return {
    wishes: {
      excludeInboundPorts: list(EXCLUDE_INBOUND_PORTS, listOfPorts),
      excludeOutboundPorts: list(EXCLUDE_OUTBOUND_PORTS, listOfPorts),
      excludeOutboundCidrs: list(EXCLUDE_OUTBOUND_CIDRS, listOfCidrs),
    },
    problems,
  };
}
