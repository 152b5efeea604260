import { parseCidr } from '../lib/cidr.ts';
import { formatCidr, type RedirectOptions } from './plan-options.ts';
import type { Match, Rule } from './plan-rules.ts';
import { METRICS_PORT } from './ports.ts';

export const LOOPBACK: Match = { kind: 'loopback', is: true };
export const OTHER_INTERFACE: Match = { kind: 'loopback', is: false };
export const ORIGINAL: Match = { kind: 'direction', is: 'original' };
export const REPLY: Match = { kind: 'direction', is: 'reply' };
export const REWRITTEN: Match = { kind: 'rewritten' };
export const NOT_OPENING: Match = { kind: 'notOpening' };

/** The conditions that exclusions make, of which each is a rule of its own. */
export interface Parts {
  readonly inboundPorts: readonly number[];
  /** Calls that stay as they were, and the answers to them. */
  readonly calls: readonly Match[];
  readonly answers: readonly Match[];
}

export function partsOf(options: RedirectOptions): Parts {
  const ports = sorted(options.excludeOutboundPorts);
  const cidrs = options.excludeOutboundCidrs.flatMap((text) => parseCidr(text) ?? []);
  const written = new Map(cidrs.map((cidr) => [formatCidr(cidr), cidr.family]));
  const networks = [...written.keys()].toSorted((one, other) => (one < other ? -1 : 1));
  const matches = (of: 'source' | 'destination'): Match[] => [
    ...(ports.length > 0 ? [{ kind: 'port', of, ports } as const] : []),
    ...networks.map((cidr) => ({ kind: 'network', of, family: written.get(cidr)!, cidr }) as const),
  ];
  return {
    inboundPorts: sorted([METRICS_PORT, ...options.excludeInboundPorts]),
    calls: matches('destination'),
    answers: matches('source'),
  };
}

export function rule(why: string, then: Rule['then'], ...when: Match[]): Rule {
  return { why, then, when };
}

export function to(port: number): Match {
  return { kind: 'port', of: 'destination', ports: [port] };
}

export function from(port: number): Match {
  return { kind: 'port', of: 'source', ports: [port] };
}

export function notTo(port: number): Match {
  return { kind: 'notPort', of: 'destination', port };
}

export function sorted(ports: readonly number[]): number[] {
  return [...new Set(ports)].toSorted((one, other) => one - other);
}
