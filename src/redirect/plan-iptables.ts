import { createHash } from 'node:crypto';
import type { Action, Chain, MarkBits, Match, Rule, RuleSet } from './plan-rules.ts';

/** Every chain of ours begins so, in every version. */
export const CHAIN_PREFIX = 'COUNTERSIGN_';
/** Chains to which no jump leads: iptables' way of writing the rules can be read from them. */
const SCRATCH_PREFIX = 'CSCHK_';
const TABLES = ['raw', 'mangle', 'filter', 'nat'];

/** What `iptables-save` says about our chains. */
export interface IptablesState {
  /** Each with its table and, for a jump, its built-in chain; as `iptables-save` wrote them, without counters. */
  readonly chains: readonly { readonly table: string; readonly name: string }[];
  readonly jumps: readonly { readonly table: string; readonly line: string; readonly first: boolean }[];
  readonly rules: readonly string[];
}

/** Reads what is ours out of the text of `iptables-save`: chains that begin with `prefix`, their rules, and the jumps to them. */
export function iptablesState(text: string, prefix: string = CHAIN_PREFIX): IptablesState {
  const chains: { table: string; name: string }[] = [];
  const jumps: { table: string; line: string; first: boolean }[] = [];
  const rules: string[] = [];
  const begun = new Set<string>();
  let table = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1);
    const chain = /^:(\S+)/.exec(line)?.[1];
    if (chain?.startsWith(prefix) === true) chains.push({ table, name: chain });
    const [, from = '', rest = ''] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (from.startsWith(prefix)) rules.push(`${from.slice(prefix.length)}: ${rest}`);
    else if (/ -[jg] (\S+)/.exec(line)?.[1]?.startsWith(prefix) === true) {
      jumps.push({ table, line: line.slice(3), first: !begun.has(`${table} ${from}`) });
    } else if (from !== '') begun.add(`${table} ${from}`);
  }
  return { chains, jumps, rules };
}

/**
 * The rules of one family as text for `iptables-restore --noflush`. One commit per table: chains of ours are emptied and filled, chains and
 * jumps of an earlier version go, and the jumps are put first. The filter comes before the redirection: between the two, calls are refused.
 */
export function iptablesPlan(family: 4 | 6, plan: RuleSet, state: IptablesState): string {
  const stamp = stampOf(family, plan);
  return commits((table) => {
    const own = chainsOf(family, plan).filter((chain) => chain.table === table);
    const wanted = new Set(own.map(chainName));
    const old = state.chains.filter((one) => one.table === table && !wanted.has(one.name));
    return [
      ...own.map((chain) => `:${chainName(chain)} - [0:0]`),
      ...state.jumps.filter((jump) => jump.table === table).map(({ line }) => `-D ${line}`),
      ...old.flatMap(({ name }) => [`-F ${name}`, `-X ${name}`]),
      ...own.map((chain) => `-I ${jumpTo(chain, plan)}`),
      ...own.flatMap((chain) =>
        rulesOf(chain, family, plan, stamp).map((rule) => `-A ${chainName(chain)} ${rule}`),
      ),
    ];
  });
}

/** Removes all that is ours; the redirection goes first, while the filter is still there. */
export function iptablesRemoval(state: IptablesState): string {
  return commits((table) => {
    const chains = state.chains.filter((one) => one.table === table);
    return [
      ...state.jumps.filter((jump) => jump.table === table).map(({ line }) => `-D ${line}`),
      ...chains.map(({ name }) => `-F ${name}`),
      ...chains.map(({ name }) => `-X ${name}`),
    ];
  }, TABLES.toReversed());
}

/** The same rules in chains of other names, to which nothing leads. `suffix` tells two that are made at the same time apart. */
export function iptablesScratch(family: 4 | 6, plan: RuleSet, suffix: string): string {
  const stamp = stampOf(family, plan);
  return commits((table) => {
    const own = chainsOf(family, plan).filter((chain) => chain.table === table);
    return [
      ...own.map((chain) => `:${scratchName(chain, suffix)} - [0:0]`),
      ...own.flatMap((chain) =>
        rulesOf(chain, family, plan, stamp).map((rule) => `-A ${scratchName(chain, suffix)} ${rule}`),
      ),
    ];
  });
}

/** The rules in force that one family should have, in iptables' own writing as it was read back from the scratch chains. */
export function iptablesScratchRules(text: string, suffix: string): readonly string[] {
  return iptablesState(text, `${SCRATCH_PREFIX}${suffix}_`).rules;
}

/** The chains of one family. */
export function chainsOf(family: 4 | 6, plan: RuleSet): readonly Chain[] {
  return plan.chains.filter((chain) => chain.of === undefined || family === 4);
}

/** A jump, as text behind `-I` and, as iptables writes it, behind `-A`. No comment: every packet is asked what stands there. */
export function jumpTo(chain: Chain, plan: RuleSet): string {
  const entry = (chain.entry ?? [])
    .map((match) => matchText(match, chain.hook, plan))
    .map((text) => (text.includes('--tcp-flags') ? `-m tcp ${text}` : text));
  return [chain.hook.toUpperCase(), `-p ${chain.of ?? 'tcp'}`, ...entry, `-j ${chainName(chain)}`].join(' ');
}

/** Removes scratch chains. */
export function iptablesScratchRemoval(text: string, suffix: string): string {
  return iptablesRemoval(iptablesState(text, `${SCRATCH_PREFIX}${suffix}_`));
}

function chainName(chain: Chain): string {
  return `${CHAIN_PREFIX}${chain.name.toUpperCase()}`;
}

/** iptables allows 28 characters. */
function scratchName(chain: Chain, suffix: string): string {
  return `${SCRATCH_PREFIX}${suffix}_${chain.name.toUpperCase()}`;
}

function commits(linesOf: (table: string) => string[], tables = TABLES): string {
  return tables
    .map((table) => ({ table, lines: linesOf(table) }))
    .filter(({ lines }) => lines.length > 0)
    .map(({ table, lines }) => [`*${table}`, ...lines, 'COMMIT', ''].join('\n'))
    .join('');
}

/** Version and hash of the rules of one family: the last rule of each chain bears it, so that whoever lists a chain sees whose it is. */
function stampOf(family: 4 | 6, plan: RuleSet): string {
  const text = chainsOf(family, plan)
    .map((chain) => [jumpTo(chain, plan), ...rulesOf(chain, family, plan)].join('\n'))
    .join('\n');
  return `countersign rules ${plan.version} ${createHash('sha256').update(text).digest('hex').slice(0, 12)}`;
}

function rulesOf(chain: Chain, family: 4 | 6, plan: RuleSet, stamp?: string): string[] {
  const rules = chain.rules
    .filter((rule) => rule.when.every((match) => match.kind !== 'network' || match.family === family))
    .flatMap(spread);
  return rules.map((rule, at) =>
    ruleText(rule, chain, plan, at === rules.length - 1 && stamp !== undefined ? `; ${stamp}` : ''),
  );
}

/** iptables compares with one port, or at most with 15: a rule with several becomes several rules. */
function spread(rule: Rule): Rule[] {
  const at = rule.when.findIndex((match) => match.kind === 'port' && match.ports.length > 1);
  const many = rule.when[at];
  if (many?.kind !== 'port') return [rule];
  return many.ports.map((port) => ({ ...rule, when: rule.when.with(at, { ...many, ports: [port] }) }));
}

function ruleText(rule: Rule, { hook, of }: Chain, plan: RuleSet, remark: string): string {
  const when = rule.when.map((match) => matchText(match, hook, plan));
  return [
    `-p ${of ?? 'tcp'}`,
    ...when,
    ...(rule.bare === true ? [] : [`-m comment --comment "${rule.why}${remark}"`]),
    actionText(rule.then, plan),
  ].join(' ');
}

function actionText(action: Action, { mark }: RuleSet): string {
  if (typeof action === 'object') {
    if ('redirect' in action) return `-j REDIRECT --to-ports ${action.redirect}`;
    if ('markConnection' in action) return `-j CONNMARK --set-xmark ${bits(action.markConnection)}`;
    if ('markPacket' in action) return `-j MARK --set-xmark ${bits(action.markPacket)}`;
    if ('zone' in action) return `-j CT --zone-orig ${action.zone}`;
    const { queue, count } = action;
    return `-j NFQUEUE ${count === 1 ? `--queue-num ${queue}` : `--queue-balance ${queue}:${queue + count - 1}`}`;
  }
  switch (action) {
    case 'pass':
      return '-j RETURN';
    case 'drop':
      return '-j DROP';
    case 'refuse':
      return '-j REJECT --reject-with tcp-reset';
    case 'mark':
      return `-j CONNMARK --set-xmark ${bits(mark)}`;
    case 'unmark':
      return `-j CONNMARK --set-xmark 0x0/${hex(mark.mask)}`;
  }
}

function matchText(match: Match, hook: Chain['hook'], { mark }: RuleSet): string {
  switch (match.kind) {
    case 'loopback':
      return `${match.is ? '' : '! '}${hook === 'output' ? '-o' : '-i'} lo`;
    case 'user':
      return `-m owner --uid-owner ${match.uid}`;
    case 'otherUser':
      return `-m owner --socket-exists ! --uid-owner ${match.uid}`;
    case 'port':
      return `--${portOf(match.of)} ${match.ports.join(',')}`;
    case 'notPort':
      return `! --${portOf(match.of)} ${match.port}`;
    case 'network':
      return `${match.of === 'source' ? '-s' : '-d'} ${match.cidr}`;
    case 'foreignDestination':
      return '-m addrtype ! --dst-type LOCAL';
    case 'foreignSource':
      return '-m addrtype ! --src-type LOCAL';
    case 'invalid':
      return '-m conntrack --ctstate INVALID';
    case 'withoutConnection':
      return '-m conntrack --ctstate INVALID,UNTRACKED';
    case 'direction':
      return `-m conntrack --ctdir ${match.is.toUpperCase()}`;
    case 'rewritten':
      return '-m conntrack --ctstate DNAT';
    case 'marked':
      return `-m connmark --mark ${bits(mark)}`;
    case 'connectionMark':
      return `-m connmark --mark ${bits(match)}`;
    case 'otherConnectionMark':
      return `-m connmark ! --mark ${bits(match)}`;
    case 'packetMark':
      return `-m mark --mark ${bits(match)}`;
    case 'opening':
      return '--tcp-flags SYN,ACK SYN';
    case 'notSyn':
      return '! --tcp-flags SYN SYN';
    case 'notOpening':
      return '! --tcp-flags SYN,ACK SYN';
    case 'reset':
      return '--tcp-flags RST RST';
    case 'unreachable':
      return `--icmp-type 3/${match.code}`;
    case 'aboutFirstAnswer':
      return '-m conntrack --ctstate RELATED --ctdir ORIGINAL ! --ctstatus ASSURED';
  }
}

function bits({ value, mask }: MarkBits): string {
  return `${hex(value)}/${hex(mask)}`;
}

function portOf(of: 'source' | 'destination'): string {
  return of === 'source' ? 'sport' : 'dport';
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
