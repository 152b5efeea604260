import { inboundFilter, outboundFilter } from './plan-filters.ts';
import { KEEP_SOURCE_ROUTING, keepMarks, keepZone, keptAnswers } from './plan-keep-source.ts';
import { checkOptions, type RedirectOptions } from './plan-options.ts';
import { LOOPBACK, notTo, OTHER_INTERFACE, type Parts, partsOf, rule, sorted } from './plan-parts.ts';
import type { Rule, RuleSet } from './plan-rules.ts';
import { INBOUND_PORT, OUTBOUND_PORT, REDIRECT_PROBE_PORT } from './ports.ts';

export { checkOptions, type RedirectOptions } from './plan-options.ts';

/** Changes whenever the rules' meaning does. */
export const RULES_VERSION = 5;

/** Part of a connection's mark that says «opened by the proxy». The other bits belong to others. */
export const MARK = { value: 0x0c50_0000, mask: 0x0ff0_0000 } as const;

/**
 * The rules that lead a network namespace's TCP through the proxy, and refuse what escaped: `docs/redirect.md` tells them in words.
 * @throws UserError as {@link checkOptions}
 */
export function redirectPlan(options: RedirectOptions): RuleSet {
  checkOptions(options);
  const parts = partsOf(options);
  const keeps = options.keepSource === true;
  return {
    mode: 'redirect',
    version: RULES_VERSION,
    mark: MARK,
    chains: [
      ...(keeps ? [keepZone()] : []),
      ...(keeps ? [keepMarks(options)] : []),
      { name: 'inbound_filter', table: 'filter', hook: 'input', rules: inboundFilter(parts) },
      {
        name: 'outbound_filter',
        table: 'filter',
        hook: 'output',
        rules: outboundFilter(options, parts, keeps ? keptAnswers() : [], markOwn(options)),
      },
      { name: 'outbound', table: 'nat', hook: 'output', rules: outbound(options, parts) },
      { name: 'inbound', table: 'nat', hook: 'prerouting', rules: inbound(parts) },
    ],
    ...(keeps ? { routing: KEEP_SOURCE_ROUTING } : {}),
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

/**
 * Packets that the kernel sends for sockets that are gone (last ACKs, TIME_WAIT) have no user: the mark says whose they are. It is written in the filter, which
 * every packet meets as it is: a chain of its own costs more than the rule (docs/decisions/0092-one-chain-less-for-each-packet.md).
 */
function markOwn({ proxyUid }: RedirectOptions): Rule[] {
  return [rule('opened by the proxy', 'mark', OTHER_INTERFACE, { kind: 'user', uid: proxyUid })];
}
