import type { RedirectOptions } from './plan-options.ts';
import { LOOPBACK, REPLY, rule } from './plan-parts.ts';
import type { Chain, Match, Routing, Rule } from './plan-rules.ts';

/** Of the connections that the proxy opens to the application from the address of a client, and of the answers to them; in the bits of its other mark. */
const KEPT = { value: 0x0c60_0000, mask: 0x0ff0_0000 } as const;
/** A number that nobody else is known to use. */
const ZONE = 14_014;

/** The table belongs to countersign as a whole. */
export const KEEP_SOURCE_ROUTING: Routing = { mark: KEPT, table: 14_014, priority: 14_014 };

const OF_KEPT: Match = { kind: 'connectionMark', ...KEPT };
/** Nothing else goes over loopback from an address that the pod has not: to send so takes NET_ADMIN or NET_RAW. */
const DIALS: readonly Match[] = [LOOPBACK, { kind: 'foreignSource' }];

/**
 * conntrack knows the client's own connection by the addresses and ports that the proxy dials from and to. The proxy's is looked up in a zone
 * of its own, in the direction of opening alone: answers differ, since those of the application come from its port and those of the proxy from 14006.
 */
export function keepZone(): Chain {
  // Of no user: the kernel ends connections of closed sockets, too.
  const rules = [rule('dials from the address of a client', { zone: ZONE }, ...DIALS)];
  return { name: 'keep_zone', table: 'raw', hook: 'output', rules };
}

/** What leads the application's answers to the proxy, instead of out of the pod to the client. */
export function keepMarks({ proxyUid }: RedirectOptions): Chain {
  const proxy: Match = { kind: 'user', uid: proxyUid };
  const rules = [
    rule('dials from the address of a client', { markConnection: KEPT }, ...DIALS, proxy),
    rule('answers to them stay in the pod', { markPacket: KEPT }, OF_KEPT, REPLY),
  ];
  return { name: 'mark_own', table: 'mangle', hook: 'output', reroutes: true, rules };
}

/** The outbound filter sees such answers on the way that they had before they were marked. */
export function keptAnswers(): Rule[] {
  const mark: Match = { kind: 'packetMark', ...KEPT };
  return [rule('answers to the proxy at the address of a client', 'pass', mark, OF_KEPT, REPLY)];
}
