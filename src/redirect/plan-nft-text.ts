import type { Action, Chain, MarkBits, Match, QueueTarget, Rule, RuleSet } from './plan-rules.ts';

/** Of the table of iptables with that name: `linux/netfilter_ipv4.h`. */
export const PRIORITY = { raw: -300, nat: -100, mangle: -150, filter: 0 } as const;

/** A rule as nft reads it. `pass` ends the chain. */
export function ruleText(rule: Rule, chain: Chain, plan: RuleSet): string {
  const when = rule.when.map((match) => matchText(match, chain.hook, plan));
  return [...when, actionText(rule.then, plan), `comment "${rule.why}"`].join(' ');
}

function actionText(action: Action, { mark }: RuleSet): string {
  if (typeof action === 'object') {
    if ('redirect' in action) return `meta l4proto tcp redirect to :${action.redirect}`;
    if ('markConnection' in action) return `ct mark set ${written('ct mark', action.markConnection)}`;
    if ('markPacket' in action) return `meta mark set ${written('meta mark', action.markPacket)}`;
    if ('zone' in action) return `ct original zone set ${action.zone}`;
    return `jump ${queueChain(action)}`;
  }
  switch (action) {
    case 'pass':
      return 'return';
    case 'drop':
      return 'drop';
    case 'refuse':
      return 'meta l4proto tcp reject with tcp reset';
    case 'mark':
      return `ct mark set ${written('ct mark', mark)}`;
    case 'unmark':
      return `ct mark set ct mark & ${hex(~mark.mask >>> 0)}`;
  }
}

/** A condition as nft reads it. */
export function matchText(match: Match, hook: Chain['hook'], { mark }: RuleSet): string {
  switch (match.kind) {
    case 'loopback':
      return `${hook === 'output' ? 'oifname' : 'iifname'} ${match.is ? '' : '!= '}"lo"`;
    case 'user':
      return `meta skuid ${match.uid}`;
    case 'otherUser':
      return `meta skuid != ${match.uid}`;
    case 'port':
      return `tcp ${portOf(match.of)} ${setOf(match.ports)}`;
    case 'notPort':
      return `tcp ${portOf(match.of)} != ${match.port}`;
    case 'network':
      return `${match.family === 4 ? 'ip' : 'ip6'} ${match.of === 'source' ? 'saddr' : 'daddr'} ${match.cidr}`;
    case 'foreignDestination':
      return 'fib daddr type != local';
    case 'foreignSource':
      return 'fib saddr type != local';
    case 'invalid':
      return 'ct state invalid';
    case 'withoutConnection':
      return 'ct state { invalid, untracked }';
    case 'direction':
      return `ct direction ${match.is}`;
    case 'rewritten':
      return 'ct status dnat';
    case 'marked':
      return `ct mark & ${hex(mark.mask)} == ${hex(mark.value)}`;
    case 'connectionMark':
      return `ct mark & ${hex(match.mask)} == ${hex(match.value)}`;
    case 'otherConnectionMark':
      return `ct mark & ${hex(match.mask)} != ${hex(match.value)}`;
    case 'packetMark':
      return `meta mark & ${hex(match.mask)} == ${hex(match.value)}`;
    case 'opening':
      return 'tcp flags & (syn | ack) == syn';
    case 'notSyn':
      return 'tcp flags & syn != syn';
    case 'notOpening':
      return 'tcp flags & (syn | ack) != syn';
    case 'reset':
      return 'tcp flags & rst == rst';
    case 'unreachable':
      return `icmp type destination-unreachable icmp code ${match.code}`;
    case 'aboutFirstAnswer':
      return 'ct state related ct direction original ct status & assured == 0';
  }
}

/** The chain that holds the one rule by which packets go to these queues. */
export function queueChain({ queue, count }: QueueTarget): string {
  return count === 1 ? `queue_${queue}` : `queues_${queue}_to_${queue + count - 1}`;
}

function written(what: string, { value, mask }: MarkBits): string {
  return `${what} & ${hex(~mask >>> 0)} | ${hex(value)}`;
}

function portOf(of: 'source' | 'destination'): string {
  return of === 'source' ? 'sport' : 'dport';
}

function setOf(ports: readonly number[]): string {
  return ports.length === 1 ? String(ports[0]) : `{ ${ports.join(', ')} }`;
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
