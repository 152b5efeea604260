import { UserError } from '../errors.ts';
import type { MarkMatch, Marks } from '../nfqueue/marks.ts';
import { inboundFilter, outboundFilter } from './plan-filters.ts';
import { checkOptions, type RedirectOptions } from './plan-options.ts';
import {
  from,
  LOOPBACK,
  NOT_OPENING,
  notTo,
  ORIGINAL,
  OTHER_INTERFACE,
  type Parts,
  partsOf,
  REPLY,
  REWRITTEN,
  rule,
  sorted,
} from './plan-parts.ts';
import type { Action, Match, Rule, RuleSet } from './plan-rules.ts';
import { INBOUND_PORT, OUTBOUND_PORT, REDIRECT_PROBE_PORT } from './ports.ts';

/** Changes whenever the rules' meaning does. */
export const NFQUEUE_RULES_VERSION = 7;

/** Where packets wait for a verdict: the first queue is for calls of the pod, the others are for calls to it, by the peer's address. */
export interface QueueRange {
  readonly first: number;
  /** At least 2, the first included. Strangers can fill only those after the first. */
  readonly count: number;
}

export interface NfqueueOptions extends RedirectOptions {
  readonly queues: QueueRange;
  readonly marks: Marks;
}

const MOST_QUEUES = 64;

/**
 * The rules of NFQUEUE mode: opening packets, and all packets of a connection that is not verified, wait for a verdict of the proxy; a verified
 * connection is the kernel's. `docs/redirect.md` tells them in words.
 *
 * An opening packet is taken before conntrack sees it (table raw): what a stranger sends makes no entry, and an entry that an earlier
 * connection left behind has no say. When it was accepted, the mark of such an entry is taken away, and what the new connection sends is queued.
 *
 * A packet of a verified connection meets as few rules as can be (docs/decisions/0081-rules-that-open-connections-do-not-meet.md): the two queueing chains begin
 * with the one rule by which it leaves, and into the others it does not come. That rule cannot stand at the jump to those two, turned round: of a packet
 * without an entry in conntrack `connmark` says no, and `! connmark` does too, so that it would pass. To the filters such a packet need not come: the
 * queueing chains have dropped or queued it, and the filters are for what came past these.
 * @throws UserError as checkOptions, or for a range that is none
 */
export function nfqueuePlan(options: NfqueueOptions): RuleSet {
  checkOptions(options);
  const { first, count } = options.queues;
  if (!Number.isInteger(count) || count < 2 || count > MOST_QUEUES) {
    throw new UserError(`--queues ${count}: has to be a number from 2 to ${MOST_QUEUES}`);
  }
  if (!Number.isInteger(first) || first < 0 || first + count > 65_536) {
    throw new UserError(`--first-queue ${first}: has to be a number from 0 to ${65_536 - count}`);
  }
  const parts = partsOf(options);
  const unverified: Match = { kind: 'otherConnectionMark', ...options.marks.anyVerified };
  const passing = [rule('accepted by the proxy', 'pass', packetMark(options.marks.accepted))];
  // When the proxy turns to the stream carrier it deletes the call's entry in conntrack. A SYN that waited in the queue meanwhile has that entry still,
  // and nat does not look at it: a reset would end a good call, while the next SYN is redirected.
  const late = rule('nat knew it before: TCP repeats it', 'drop', packetMark(options.marks.stream), OPENING);
  return {
    mode: 'nfqueue',
    version: NFQUEUE_RULES_VERSION,
    mark: options.marks.own,
    chains: [
      {
        name: 'opening',
        table: 'raw',
        hook: 'prerouting',
        entry: [OPENING],
        rules: [...leftAlone(parts), rule('calls to the pod are judged', callsToThePod(options))],
      },
      // Behind nat: where that took another port for a call of the pod, answers have the call's own here.
      { name: 'queue_in', table: 'mangle', hook: 'input', rules: queueIn(options, parts) },
      { name: 'queue_out', table: 'mangle', hook: 'output', rules: queueOut(options, parts) },
      {
        name: 'inbound_filter',
        table: 'filter',
        hook: 'input',
        entry: [unverified],
        rules: inboundFilter(parts, passing),
      },
      {
        name: 'outbound_filter',
        table: 'filter',
        hook: 'output',
        entry: [unverified],
        rules: outboundFilter(options, parts, [...passing, late]),
      },
      { name: 'errors', table: 'filter', hook: 'input', of: 'icmp', rules: errors() },
      { name: 'outbound', table: 'nat', hook: 'output', rules: toListener(options, OUTBOUND_PORT) },
      { name: 'inbound', table: 'nat', hook: 'prerouting', rules: toListener(options, INBOUND_PORT) },
    ],
  };
}

const OPENING: Match = { kind: 'opening' };
const NOT_SYN: Match = { kind: 'notSyn' };
const MARKED: Match = { kind: 'marked' };

/** A verified connection is the kernel's; no SYN and no SYN-ACK passes without a verdict. */
function verified(marks: Marks): Rule {
  return { ...rule('verified by the proxy', 'pass', connectionMark(marks.anyVerified), NOT_SYN), bare: true };
}

/**
 * What conntrack has no connection for comes to no filter, and nat does not look at it. So it is dropped here where it would pass without a verdict, or
 * would need nat after one.
 */
function lost(why: string, ...when: Match[]): Rule {
  return rule(why, 'drop', ...when, { kind: 'withoutConnection' });
}

function queueIn(options: NfqueueOptions, parts: Parts): Rule[] {
  const { accepted } = options.marks;
  return [
    verified(options.marks),
    lost('nobody calls the listeners', OTHER_INTERFACE, {
      kind: 'port',
      of: 'destination',
      ports: [OUTBOUND_PORT, INBOUND_PORT],
    }),
    ...leftAlone(parts),
    ...parts.answers.map((match) => rule('answers to excluded calls', 'pass', match, REPLY, NOT_OPENING)),
    rule('answers to the proxy', 'pass', MARKED, REPLY, NOT_OPENING),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL),
    rule('a new connection is not verified', 'unmark', OPENING),
    rule('has its verdict', 'pass', packetMark(accepted), OPENING),
    lost('has no verdict', OPENING),
    // To the listener, or it came past the queue: then the filter does not let it in.
    rule('has its verdict', 'pass', OPENING),
    rule('answers to the pod are judged', callsOfThePod(options), REPLY),
    rule('calls to the pod are judged', callsToThePod(options)),
  ];
}

function queueOut(options: NfqueueOptions, { inboundPorts, calls }: Parts): Rule[] {
  const proxy: Match = { kind: 'user', uid: options.proxyUid };
  return [
    verified(options.marks),
    rule('the pod talks to itself', 'pass', LOOPBACK, notTo(REDIRECT_PROBE_PORT)),
    lost('would show the port of the proxy outside', from(INBOUND_PORT)),
    // Before the next: such a packet belongs to a connection of the pod.
    rule('sent by the proxy for others', 'pass', packetMark(options.marks.own), proxy),
    rule('opened by the proxy', 'mark', OTHER_INTERFACE, proxy),
    rule('calls of the proxy', 'pass', OTHER_INTERFACE, proxy),
    rule('last packets of the proxy', 'pass', MARKED, NOT_OPENING),
    rule('redirected to the proxy', 'pass', REWRITTEN, ORIGINAL),
    rule('answers of the proxy', 'pass', REWRITTEN, REPLY, from(INBOUND_PORT)),
    rule('answers of metrics and excluded ports', 'pass', REPLY, {
      kind: 'port',
      of: 'source',
      ports: inboundPorts,
    }),
    ...calls.flatMap((match) => [
      rule('excluded calls', 'pass', match, OTHER_INTERFACE, ORIGINAL),
      lost('belongs to no connection', match, OTHER_INTERFACE),
    ]),
    lost('nat would pass over it', OPENING),
    rule('a new connection is not verified', 'unmark', OPENING),
    rule('answers of the pod are judged', callsToThePod(options), REPLY),
    rule('calls of the pod are judged', callsOfThePod(options)),
  ];
}

/**
 * A router that has nowhere to send the SYN-ACK says so, and the kernel forgets the half-open connection (tcp_v4_err; IPv6's does not). The client's next
 * SYN would be answered with another number, by which conntrack in between loses a connection whose SYN has data, and nat with it.
 */
function errors(): Rule[] {
  return ([0, 1] as const).map((code) =>
    rule('the SYN-ACK will be repeated', 'drop', { kind: 'unreachable', code }, { kind: 'aboutFirstAnswer' }),
  );
}

/** A verdict sends an opening packet to a listener by its mark; nothing else is redirected. */
function toListener({ marks }: NfqueueOptions, port: number): Rule[] {
  return [rule('the proxy carries it as a stream', { redirect: port }, packetMark(marks.stream))];
}

/** Of what comes in. The listeners' own ports are among it: the filter refuses whoever calls them directly. */
function leftAlone({ inboundPorts }: Parts): Rule[] {
  return [
    rule('the pod talks to itself', 'pass', LOOPBACK),
    rule('passing through to elsewhere', 'pass', { kind: 'foreignDestination' }),
    rule('metrics, excluded and own ports', 'pass', {
      kind: 'port',
      of: 'destination',
      ports: sorted([...inboundPorts, OUTBOUND_PORT, INBOUND_PORT]),
    }),
  ];
}

function callsOfThePod({ queues }: NfqueueOptions): Action {
  return { queue: queues.first, count: 1 };
}

function callsToThePod({ queues }: NfqueueOptions): Action {
  return { queue: queues.first + 1, count: queues.count - 1 };
}

function packetMark(mark: MarkMatch): Match {
  return { kind: 'packetMark', ...mark };
}

function connectionMark(mark: MarkMatch): Match {
  return { kind: 'connectionMark', ...mark };
}
