import type { Routing } from './plan-rules.ts';

type Family = 4 | 6;

/** What `ip` says about the table that is ours: a line for each rule that leads to it, and for each route in it. */
export interface RoutingState {
  readonly lines: readonly string[];
  /** Priorities of those rules. */
  readonly priorities: readonly number[];
}

/** rtnetlink(7), RTN_LOCAL: delivered to this network namespace. `ip -N` writes the number. */
const LOCAL = '2';

/** The commands that set the routing of one family where there is none. */
export function routingCommands(family: Family, { mark, table, priority }: Routing): string[][] {
  const ip = ['ip', `-${family}`];
  return [
    // The route first: without it packets that the rule leads to the table would go on to the next one, and out of the pod.
    [...ip, ...`route add local default dev lo table ${table}`.split(' ')],
    [
      ...ip,
      ...`rule add priority ${priority} fwmark ${hex(mark.value)}/${hex(mark.mask)} lookup ${table}`.split(
        ' ',
      ),
    ],
  ];
}

/** The commands that take away what {@link routingState} found. */
export function routingRemoval(family: Family, table: number, state: RoutingState): string[][] {
  const ip = ['ip', `-${family}`];
  const rules = state.priorities.map((priority) => [
    ...ip,
    ...`rule del priority ${priority} lookup ${table}`.split(' '),
  ]);
  if (state.lines.length > rules.length) rules.push([...ip, ...`route flush table ${table}`.split(' ')]);
  return rules;
}

/** The lines that {@link routingState} finds when the routing is in force as planned, and nothing else is in its table. */
export function routingLines(family: Family, { mark, table, priority }: Routing): string[] {
  return [
    `IPv${family} ip rule ${priority}: fwmark ${hex(mark.value)}/${hex(mark.mask)} src all lookup ${table}`,
    `IPv${family} ip route table ${table}: local default dev lo`,
  ];
}

/**
 * Reads the output of `ip -N -j rule show` and `ip -N -j route show table all`.
 * @throws SyntaxError or TypeError when it is not what ip(8) prints
 */
export function routingState(family: Family, table: number, rules: string, routes: string): RoutingState {
  const own = entriesOf(rules).filter((rule) => rule['table'] === String(table));
  return {
    priorities: own.map((rule) => Number(rule['priority'])),
    lines: [
      ...own.map(
        (rule) => `IPv${family} ip rule ${text(rule['priority'])}: ${ruleText(rule)} lookup ${table}`,
      ),
      ...entriesOf(routes)
        .filter((route) => route['table'] === String(table))
        .map((route) => `IPv${family} ip route table ${table}: ${routeText(route)}`),
    ],
  };
}

type Entry = Readonly<Record<string, unknown>>;

/** Whatever else a rule asks for is part of what it means. */
function ruleText(rule: Entry): string {
  const { priority: _priority, table: _table, protocol: _protocol, fwmark, fwmask, ...rest } = rule;
  const mark = fwmask === undefined ? text(fwmark) : `${text(fwmark)}/${text(fwmask)}`;
  const others = Object.entries(rest).map(([name, value]) => `${name} ${text(value)}`);
  return [...(fwmark === undefined ? [] : [`fwmark ${mark}`]), ...others].join(' ');
}

/** Scope, metric and preference are the kernel's, of one family each. */
function routeText(route: Entry): string {
  const type = route['type'] === LOCAL || route['type'] === 'local' ? 'local' : `type ${text(route['type'])}`;
  return `${type} ${text(route['dst'])} dev ${text(route['dev'])}`;
}

function entriesOf(json: string): Entry[] {
  const read: unknown = JSON.parse(json.trim() === '' ? '[]' : json);
  if (!Array.isArray(read)) throw new TypeError('no list');
  return read.filter((entry): entry is Entry => typeof entry === 'object' && entry !== null);
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number'
    ? String(value)
    : JSON.stringify(value ?? null);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
