/** What the tools say of a part that the kernel has not, and the module that would bring it. */
const MODULES: readonly (readonly [RegExp, string])[] = [
  [/\bfib\b/, 'nft_fib_inet'],
  [/\bredirect\b/, 'nft_redir'],
  [/\breject\b/, 'nft_reject_inet'],
  [/\btype nat\b/, 'nft_chain_nat'],
  [/\bct (mark|state|status|direction)\b/, 'nft_ct'],
  [/\binet countersign\b/, 'nf_tables'],
  [/\bowner\b/, 'xt_owner'],
  [/\btype route\b/, 'nf_tables'],
  [/\bct original zone\b/, 'nft_ct, with CONFIG_NF_CONNTRACK_ZONES,'],
  [/\bCT\b/, 'xt_CT'],
  [/\bMARK\b/, 'xt_mark'],
  [/\bNFQUEUE\b/, 'xt_NFQUEUE'],
  [/\bREDIRECT\b/, 'xt_REDIRECT'],
  [/\bREJECT\b/, 'ipt_REJECT and ip6t_REJECT'],
  [/\bCONNMARK\b|\bconnmark\b/, 'xt_connmark'],
  [/\bconntrack\b/, 'xt_conntrack'],
  [/\bmark\b/, 'xt_mark'],
  [/\baddrtype\b/, 'xt_addrtype'],
  [/\bcomment\b/, 'xt_comment'],
  [/ip6tables table [`'"]?raw/, 'ip6table_raw'],
  [/iptables table [`'"]?raw/, 'iptable_raw'],
  [/ip6tables table [`'"]?nat/, 'ip6table_nat'],
  [/iptables table [`'"]?nat/, 'iptable_nat'],
  [/ip6tables table/, 'ip6_tables'],
  [/iptables table/, 'ip_tables'],
];

const ABSENT =
  /No such file or directory|missing kernel module|not supported|Couldn't load|can't initialize|Unknown error 4294967295|No chain\/target\/match|Table does not exist/i;
const FORBIDDEN = /permitted|permission denied|you must be root/i;

/** What to do about the complaint of nft or iptables; empty when it speaks for itself. */
export function remedyFor(complaint: string): string {
  if (FORBIDDEN.test(complaint)) return 'it takes the capability NET_ADMIN in this network namespace';
  if (!ABSENT.test(complaint)) return '';
  const module = MODULES.find(([pattern]) => pattern.test(complaint))?.[1];
  return module === undefined
    ? 'a kernel module is missing'
    : `the kernel module ${module} is missing: load it on the node (modprobe ${module})`;
}
