import type { RedirectOptions } from './plan-options.ts';
import {
  from,
  LOOPBACK,
  NOT_OPENING,
  notTo,
  ORIGINAL,
  type Parts,
  REPLY,
  REWRITTEN,
  rule,
  to,
} from './plan-parts.ts';
import type { Match, Rule } from './plan-rules.ts';
import {
  INBOUND_FILTER_PROBE_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  OUTBOUND_FILTER_PROBE_PORT,
  OUTBOUND_PORT,
} from './ports.ts';

/** From the ports of the proxy that are called from outside. */
const ANSWERS: Match = { kind: 'port', of: 'source', ports: [INBOUND_PORT, METRICS_PORT] };

/** What may come in. `passing`: what a mode lets pass besides. */
export function inboundFilter({ inboundPorts, answers }: Parts, passing: readonly Rule[] = []): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK, notTo(INBOUND_FILTER_PROBE_PORT)),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL, to(INBOUND_PORT)),
    // A SYN may be an answer too (both sides open at once), and so could enter by an entry that the proxy left behind.
    rule('answers to the proxy', 'pass', { kind: 'marked' }, REPLY, NOT_OPENING),
    rule('metrics and excluded ports', 'pass', { kind: 'port', of: 'destination', ports: inboundPorts }),
    ...answers.map((match) => rule('answers to excluded calls', 'pass', match, REPLY, NOT_OPENING)),
    ...passing,
    // Late duplicates are among them: a reset would cut the connection that they belong to.
    rule('belongs to no connection', 'drop', { kind: 'invalid' }),
    rule('was not redirected', 'refuse'),
  ];
}

/** What may go out. `own`: what a mode decides besides; `opened`: what it notes of connections of the proxy. */
export function outboundFilter(
  { proxyUid }: RedirectOptions,
  { inboundPorts, calls }: Parts,
  own: readonly Rule[] = [],
  opened: readonly Rule[] = [],
): Rule[] {
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
    ...opened,
    rule('calls of the proxy', 'pass', { kind: 'user', uid: proxyUid }, notTo(OUTBOUND_FILTER_PROBE_PORT)),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL, to(OUTBOUND_PORT)),
    // For a socket that is closed a kernel may send them by a socket of its own, which xt_owner takes for one of another user.
    rule('last answers of the proxy', 'pass', { kind: 'marked' }, REPLY, { kind: 'notSyn' }, ANSWERS),
    // Whoever listens there while the proxy is away would have all that is redirected, unjudged.
    rule('another program on its ports', 'refuse', { kind: 'otherUser', uid: proxyUid }, REPLY, ANSWERS),
    rule('answers of the proxy', 'pass', REWRITTEN, REPLY, from(INBOUND_PORT)),
    rule('answers of metrics and excluded ports', 'pass', REPLY, {
      kind: 'port',
      of: 'source',
      ports: inboundPorts,
    }),
    ...calls.map((match) => rule('excluded calls', 'pass', match, ORIGINAL)),
    ...own,
    rule('belongs to no connection', 'drop', { kind: 'invalid' }),
    // A socket that reuses the addresses of an earlier call of the proxy finds its mark; it begins with a SYN.
    rule('last packets of the proxy', 'pass', { kind: 'marked' }, NOT_OPENING),
    rule('was not redirected', 'refuse'),
  ];
}
