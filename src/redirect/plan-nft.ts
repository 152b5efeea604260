import { createHash } from 'node:crypto';
import { EXIT, UserError } from '../errors.ts';
import type { Action, Chain, MarkBits, Match, Rule, RuleSet } from './plan-rules.ts';

/** The `queue` statement (CONFIG_NFT_QUEUE) is not in every kernel, and a rule set in two parts by two tools is not one transaction. */
const NO_QUEUE =
  'nft: --mode nfqueue is set by iptables, whose target NFQUEUE every kernel with queues has: leave --backend nft away';

export const NFT_TABLE = 'countersign';

const PRIORITY = { raw: -300, nat: -100, mangle: -150, filter: 0 } as const;

/**
 * The rules as one transaction for `nft -f`: replaces the own table whole and touches no other.
 * @param scratch a table of that name instead, which does nothing: nft's way of writing the same rules can be read from it
 */
export function nftPlan(plan: RuleSet, scratch?: string): string {
  const table = scratch ?? NFT_TABLE;
  const chains = plan.chains.flatMap((chain) => chainLines(chain, plan));
  const hash = createHash('sha256').update(chains.join('\n')).digest('hex').slice(0, 12);
  return [
    ...replacing(table),
    `table inet ${table} {`,
    ...(scratch === undefined ? [] : ['  flags dormant']),
    `  comment "rules ${plan.version} ${hash}"`,
    ...chains,
    `}`,
    ``,
  ].join('\n');
}

/** Removes a table, also when it is not there. */
export function nftRemoval(table: string): string {
  return `${replacing(table).join('\n')}\n`;
}

/** The rules in a listing of a table, each as `chain: rule`; the table's name and what makes it a scratch one are left out. */
export function nftRules(listing: string): string[] {
  let chain = '';
  return listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !/^(table .*|flags dormant|\}|)$/.test(line))
    .flatMap((line) => {
      const opens = /^chain (\S+) \{$/.exec(line);
      if (opens === null) return [chain === '' ? line : `${chain}: ${line}`];
      chain = opens[1]!;
      return [];
    });
}

function replacing(table: string): string[] {
  return [`add table inet ${table}`, `delete table inet ${table}`];
}

function chainLines(chain: Chain, plan: RuleSet): string[] {
  const priority = PRIORITY[chain.table];
  const filtering = chain.reroutes === true ? 'route' : 'filter';
  const type = chain.table === 'nat' ? 'nat' : filtering;
  return [
    `  chain ${chain.name} {`,
    `    type ${type} hook ${chain.hook} priority ${priority}; policy accept;`,
    `    meta l4proto != tcp return`,
    ...chain.rules.map((rule) => `    ${ruleText(rule, chain, plan)}`),
    `  }`,
  ];
}

function ruleText(rule: Rule, chain: Chain, plan: RuleSet): string {
  const when = rule.when.map((match) => matchText(match, chain.hook, plan));
  return [...when, actionText(rule.then, plan), `comment "${rule.why}"`].join(' ');
}

function actionText(action: Action, { mark }: RuleSet): string {
  if (typeof action === 'object') {
    if ('redirect' in action) return `meta l4proto tcp redirect to :${action.redirect}`;
    if ('markConnection' in action) return `ct mark set ${written('ct mark', action.markConnection)}`;
    if ('markPacket' in action) return `meta mark set ${written('meta mark', action.markPacket)}`;
    if ('zone' in action) return `ct original zone set ${action.zone}`;
    throw new UserError(NO_QUEUE, { exitCode: EXIT.failure });
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

function matchText(match: Match, hook: Chain['hook'], { mark }: RuleSet): string {
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
