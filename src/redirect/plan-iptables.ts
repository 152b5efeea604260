import { MARK, ofFamily, type RedirectOptions } from './plan.ts';
import {
  FILTER_PROBE_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  OUTBOUND_PORT,
  REDIRECT_PROBE_PORT,
} from './ports.ts';

/** Own chains, each with the table and the built-in chain that leads to it. */
export const CHAINS = [
  { table: 'nat', from: 'OUTPUT', chain: 'COUNTERSIGN_OUTBOUND' },
  { table: 'nat', from: 'PREROUTING', chain: 'COUNTERSIGN_INBOUND' },
  { table: 'mangle', from: 'OUTPUT', chain: 'COUNTERSIGN_MARK_OWN' },
  { table: 'filter', from: 'INPUT', chain: 'COUNTERSIGN_IN_FILTER' },
  { table: 'filter', from: 'OUTPUT', chain: 'COUNTERSIGN_OUT_FILTER' },
] as const;

type ChainName = (typeof CHAINS)[number]['chain'];

/**
 * The rules of one family as text for `iptables-restore --noflush`: own chains are emptied and filled in one commit per table; the jump to each
 * is put first, unless it is there.
 * @param jumps the chains to which a jump leads already
 */
export function iptablesPlan(family: 4 | 6, options: RedirectOptions, jumps: ReadonlySet<string>): string {
  const rules = rulesOf(family, options);
  return tables((table) => {
    const own = CHAINS.filter((one) => one.table === table);
    return [
      ...own.map(({ chain }) => `:${chain} - [0:0]`),
      ...own
        .filter(({ chain }) => !jumps.has(chain))
        .map(({ from, chain }) => `-I ${from} 1 -p tcp -j ${chain}`),
      ...own.flatMap(({ chain }) => rules[chain].map((rule) => `-A ${chain} ${rule}`)),
    ];
  });
}

/** Removes jumps and chains, of which those named are there. */
export function iptablesRemoval(jumps: ReadonlySet<string>, chains: ReadonlySet<string>): string {
  return tables((table) => {
    const own = CHAINS.filter((one) => one.table === table);
    return [
      ...own
        .filter(({ chain }) => jumps.has(chain))
        .map(({ from, chain }) => `-D ${from} -p tcp -j ${chain}`),
      ...own.filter(({ chain }) => chains.has(chain)).flatMap(({ chain }) => [`-F ${chain}`, `-X ${chain}`]),
    ];
  });
}

function tables(linesOf: (table: string) => string[]): string {
  return ['nat', 'mangle', 'filter']
    .map((table) => ({ table, lines: linesOf(table) }))
    .filter(({ lines }) => lines.length > 0)
    .map(({ table, lines }) => [`*${table}`, ...lines, 'COMMIT', ''].join('\n'))
    .join('');
}

function rulesOf(family: 4 | 6, options: RedirectOptions): Record<ChainName, string[]> {
  const owner = `-m owner --uid-owner ${options.proxyUid}`;
  const mark = `${hex(MARK.value)}/${hex(MARK.mask)}`;
  const inbound = [METRICS_PORT, ...options.excludeInboundPorts];
  const excluded = (port: 'dport' | 'sport', address: 'd' | 's'): string[] => [
    ...options.excludeOutboundPorts.map((one) => `-p tcp --${port} ${one}`),
    ...ofFamily(options.excludeOutboundCidrs, family).map((cidr) => `-${address} ${cidr}`),
  ];
  return {
    COUNTERSIGN_OUTBOUND: [
      `-o lo -p tcp ! --dport ${REDIRECT_PROBE_PORT} -j RETURN`,
      `! -o lo ${owner} -j RETURN`,
      ...excluded('dport', 'd').map((match) => `! -o lo ${match} -j RETURN`),
      `-p tcp -j REDIRECT --to-ports ${OUTBOUND_PORT}`,
    ],
    COUNTERSIGN_INBOUND: [
      `-i lo -j RETURN`,
      `-m addrtype ! --dst-type LOCAL -j RETURN`,
      ...inbound.map((port) => `-p tcp --dport ${port} -j RETURN`),
      `-p tcp -j REDIRECT --to-ports ${INBOUND_PORT}`,
    ],
    COUNTERSIGN_MARK_OWN: [`! -o lo ${owner} -j CONNMARK --set-xmark ${mark}`],
    COUNTERSIGN_IN_FILTER: [
      `-i lo -p tcp --dport ${FILTER_PROBE_PORT} -j DROP`,
      `-i lo -j RETURN`,
      ...inbound.map((port) => `-p tcp --dport ${port} -j RETURN`),
      `-m conntrack --ctstate INVALID -j DROP`,
      `-m conntrack --ctstate DNAT --ctdir ORIGINAL -j RETURN`,
      `-p tcp ! --syn -m connmark --mark ${mark} -m conntrack --ctdir REPLY -j RETURN`,
      ...excluded('sport', 's').map((match) => `${match} -m conntrack --ctdir REPLY -j RETURN`),
      `-p tcp -j REJECT --reject-with tcp-reset`,
    ],
    COUNTERSIGN_OUT_FILTER: [
      `-o lo -j RETURN`,
      `-p tcp --tcp-flags RST RST -j RETURN`,
      `${owner} -j RETURN`,
      `-m connmark --mark ${mark} -j RETURN`,
      `-m conntrack --ctstate DNAT -j RETURN`,
      ...inbound.map((port) => `-p tcp --sport ${port} -m conntrack --ctdir REPLY -j RETURN`),
      ...excluded('dport', 'd').map((match) => `${match} -j RETURN`),
      `-p tcp -j REJECT --reject-with tcp-reset`,
    ],
  };
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
