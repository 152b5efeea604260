import { MARK, ofFamily, type RedirectOptions, RULES_VERSION } from './plan.ts';
import {
  FILTER_PROBE_PORT,
  INBOUND_PORT,
  METRICS_PORT,
  OUTBOUND_PORT,
  REDIRECT_PROBE_PORT,
} from './ports.ts';

export const NFT_TABLE = 'inet countersign';

/**
 * The rules as one transaction for `nft -f`: replaces the own table whole and touches no other. `docs/redirect.md` says what each rule is for.
 */
export function nftPlan(options: RedirectOptions): string {
  const { proxyUid } = options;
  const inbound = [METRICS_PORT, ...options.excludeInboundPorts];
  const marked = `ct mark & ${hex(MARK.mask)} == ${hex(MARK.value)}`;
  const lines = [
    `table ${NFT_TABLE} {`,
    `  comment "version ${RULES_VERSION}"`,
    `  chain outbound {`,
    `    type nat hook output priority -100; policy accept;`,
    `    oifname "lo" tcp dport != ${REDIRECT_PROBE_PORT} return`,
    `    oifname != "lo" meta skuid ${proxyUid} return`,
    ...excluded(options).map((match) => `    oifname != "lo" ${match} return`),
    `    meta l4proto tcp redirect to :${OUTBOUND_PORT}`,
    `  }`,
    `  chain inbound {`,
    `    type nat hook prerouting priority dstnat; policy accept;`,
    `    iifname "lo" return`,
    `    fib daddr type != local return`,
    `    tcp dport ${set(inbound)} return`,
    `    meta l4proto tcp redirect to :${INBOUND_PORT}`,
    `  }`,
    `  chain mark_own {`,
    `    type filter hook output priority mangle; policy accept;`,
    `    meta l4proto tcp oifname != "lo" meta skuid ${proxyUid} ct mark set ct mark & ${hex(~MARK.mask >>> 0)} | ${hex(MARK.value)}`,
    `  }`,
    `  chain inbound_filter {`,
    `    type filter hook input priority filter; policy accept;`,
    `    meta l4proto != tcp accept`,
    `    iifname "lo" tcp dport ${FILTER_PROBE_PORT} drop`,
    `    iifname "lo" accept`,
    `    tcp dport ${set(inbound)} accept`,
    `    ct state invalid drop`,
    `    ct status dnat ct direction original accept`,
    `    tcp flags & (syn | ack) != syn ${marked} ct direction reply accept`,
    ...excludedReplies(options).map((match) => `    ${match} ct direction reply accept`),
    `    reject with tcp reset`,
    `  }`,
    `  chain outbound_filter {`,
    `    type filter hook output priority filter; policy accept;`,
    `    meta l4proto != tcp accept`,
    `    oifname "lo" accept`,
    `    tcp flags & rst == rst accept`,
    `    meta skuid ${proxyUid} accept`,
    `    ${marked} accept`,
    `    ct status dnat accept`,
    `    tcp sport ${set(inbound)} ct direction reply accept`,
    ...excluded(options).map((match) => `    ${match} accept`),
    `    reject with tcp reset`,
    `  }`,
    `}`,
  ];
  return `${nftRemoval()}${lines.join('\n')}\n`;
}

/** Removes the table, also when it is not there. */
export function nftRemoval(): string {
  return `add table ${NFT_TABLE}\ndelete table ${NFT_TABLE}\n`;
}

function excluded(options: RedirectOptions): string[] {
  return matches(options, 'dport', 'daddr');
}

function excludedReplies(options: RedirectOptions): string[] {
  return matches(options, 'sport', 'saddr');
}

function matches(options: RedirectOptions, port: 'dport' | 'sport', address: 'daddr' | 'saddr'): string[] {
  const [four, six] = [ofFamily(options.excludeOutboundCidrs, 4), ofFamily(options.excludeOutboundCidrs, 6)];
  return [
    ...(options.excludeOutboundPorts.length > 0 ? [`tcp ${port} ${set(options.excludeOutboundPorts)}`] : []),
    ...four.map((cidr) => `meta l4proto tcp ip ${address} ${cidr}`),
    ...six.map((cidr) => `meta l4proto tcp ip6 ${address} ${cidr}`),
  ];
}

function set(values: readonly number[]): string {
  return `{ ${[...new Set(values)].join(', ')} }`;
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
