import { parseCidr } from '../lib/cidr.ts';
import { checkOptions, formatCidr, type RedirectOptions } from './plan-options.ts';
import type { Match, Rule, RuleSet } from './plan-rules.ts';
import {
  INBOUND_FILTER_PROBE_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
  OUTBOUND_PORT,
  REDIRECT_PROBE_PORT,
} from './ports.ts';

export { checkOptions, type RedirectOptions } from './plan-options.ts';

/** Changes whenever the rules' meaning does. */
export const RULES_VERSION = 3;

/** Part of a connection's mark that says «opened by the proxy». The other bits belong to others. */
export const MARK = { value: 0x0c50_0000, mask: 0x0ff0_0000 } as const;

/**
 * The rules that lead a network namespace's TCP through the proxy, and refuse what escaped: `docs/redirect.md` tells them in words.
 * @throws UserError as {@link checkOptions}
 */
export function redirectPlan(options: RedirectOptions): RuleSet {
  checkOptions(options);
  const parts = partsOf(options);
  return {
    version: RULES_VERSION,
    mark: MARK,
    chains: [
      { name: 'mark_own', table: 'mangle', hook: 'output', rules: markOwn(options) },
      { name: 'inbound_filter', table: 'filter', hook: 'input', rules: inboundFilter(parts) },
      { name: 'outbound_filter', table: 'filter', hook: 'output', rules: outboundFilter(options, parts) },
      { name: 'outbound', table: 'nat', hook: 'output', rules: outbound(options, parts) },
      { name: 'inbound', table: 'nat', hook: 'prerouting', rules: inbound(parts) },
    ],
  };
}

const LOOPBACK: Match = { kind: 'loopback', is: true };
const OTHER_INTERFACE: Match = { kind: 'loopback', is: false };
const ORIGINAL: Match = { kind: 'direction', is: 'original' };
const REPLY: Match = { kind: 'direction', is: 'reply' };
const REWRITTEN: Match = { kind: 'rewritten' };
const NOT_OPENING: Match = { kind: 'notOpening' };

/** The conditions that exclusions make, of which each is a rule of its own. */
interface Parts {
  readonly inboundPorts: readonly number[];
  /** Calls that stay as they were, and the answers to them. */
  readonly calls: readonly Match[];
  readonly answers: readonly Match[];
}

function partsOf(options: RedirectOptions): Parts {
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

function outbound({ proxyUid }: RedirectOptions, { calls }: Parts): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK, notTo(REDIRECT_PROBE_PORT)),
    rule('calls of the proxy', 'pass', OTHER_INTERFACE, { kind: 'user', uid: proxyUid }),
    ...calls.map((match) => rule('excluded calls', 'pass', OTHER_INTERFACE, match)),
    rule('calls of the pod go to the proxy', { redirect: OUTBOUND_PORT }),
  ];
}

function inbound({ inboundPorts }: Parts): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK),
    rule('passing through to elsewhere', 'pass', { kind: 'foreignDestination' }),
    rule('metrics, excluded and own ports', 'pass', {
      kind: 'port',
      of: 'destination',
      ports: sorted([...inboundPorts, OUTBOUND_PORT, INBOUND_PORT]),
    }),
    rule('calls to the pod go to the proxy', { redirect: INBOUND_PORT }),
  ];
}

/** Packets that the kernel sends for sockets that are gone (last ACKs, TIME_WAIT) have no user: the mark says whose they are. */
function markOwn({ proxyUid }: RedirectOptions): Rule[] {
  return [rule('opened by the proxy', 'mark', OTHER_INTERFACE, { kind: 'user', uid: proxyUid })];
}

function inboundFilter({ inboundPorts, answers }: Parts): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK, notTo(INBOUND_FILTER_PROBE_PORT)),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL, to(INBOUND_PORT)),
    // A SYN may be an answer too (both sides open at once), and so could enter by an entry that the proxy left behind.
    rule('answers to the proxy', 'pass', { kind: 'marked' }, REPLY, NOT_OPENING),
    rule('metrics and excluded ports', 'pass', { kind: 'port', of: 'destination', ports: inboundPorts }),
    ...answers.map((match) => rule('answers to excluded calls', 'pass', match, REPLY, NOT_OPENING)),
    // Late duplicates are among them: a reset would cut the connection that they belong to.
    rule('belongs to no connection', 'drop', { kind: 'invalid' }),
    rule('was not redirected', 'refuse'),
  ];
}

function outboundFilter({ proxyUid }: RedirectOptions, { inboundPorts, calls }: Parts): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK, notTo(OUTBOUND_FILTER_PROBE_PORT)),
    rule('resets carry no data', 'pass', { kind: 'reset' }),
    rule('would show the port of the proxy outside', 'drop', from(INBOUND_PORT), { kind: 'invalid' }),
    // conntrack leads a dial from the port of an application's reset call the way that call went: to the proxy itself.
    rule('would lead the proxy to itself', 'refuse', { kind: 'user', uid: proxyUid }, REWRITTEN, ORIGINAL, {
      kind: 'port',
      of: 'destination',
      ports: [OUTBOUND_PORT, INBOUND_PORT],
    }),
    rule('calls of the proxy', 'pass', { kind: 'user', uid: proxyUid }, notTo(OUTBOUND_FILTER_PROBE_PORT)),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL, to(OUTBOUND_PORT)),
    rule('answers of the proxy', 'pass', REWRITTEN, REPLY, from(INBOUND_PORT)),
    rule('answers of metrics and excluded ports', 'pass', REPLY, {
      kind: 'port',
      of: 'source',
      ports: inboundPorts,
    }),
    ...calls.map((match) => rule('excluded calls', 'pass', match, ORIGINAL)),
    rule('belongs to no connection', 'drop', { kind: 'invalid' }),
    // A socket that reuses the addresses of an earlier call of the proxy finds its mark; it begins with a SYN.
    rule('last packets of the proxy', 'pass', { kind: 'marked' }, NOT_OPENING),
    rule('was not redirected', 'refuse'),
  ];
}

function rule(why: string, then: Rule['then'], ...when: Match[]): Rule {
  return { why, then, when };
}

function to(port: number): Match {
  return { kind: 'port', of: 'destination', ports: [port] };
}

function from(port: number): Match {
  return { kind: 'port', of: 'source', ports: [port] };
}

function notTo(port: number): Match {
  return { kind: 'notPort', of: 'destination', port };
}

function sorted(ports: readonly number[]): number[] {
  return [...new Set(ports)].toSorted((one, other) => one - other);
}
