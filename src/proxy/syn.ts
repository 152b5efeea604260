/** TCP option kinds that carry Fast Open: RFC 7413, and the experimental kind of RFC 6994 with Fast Open's magic. */
const FAST_OPEN = 34;
const EXPERIMENTAL = 254;
const FAST_OPEN_EXPERIMENT = 0xf989;

/**
 * Whether a saved SYN (`TCP_SAVED_SYN`: network header first) carries the Fast Open option, which a dialling sidecar sets. A hint and
 * nothing more: retransmissions lose it, SYN cookies hide it, ordinary programs set it.
 */
export function hasFastOpenOption(syn: Uint8Array): boolean {
  const tcp = tcpHeader(syn);
  if (tcp === undefined) return false;
  for (let at = 20; at < tcp.length;) {
    const kind = tcp[at]!;
    if (kind === 0) return false;
    if (kind === 1) {
      at++;
      continue;
    }
    const length = tcp[at + 1] ?? 0;
    if (length < 2 || at + length > tcp.length) return false;
    if (kind === FAST_OPEN) return true;
    if (kind === EXPERIMENTAL && length >= 4) {
      if (((tcp[at + 2]! << 8) | tcp[at + 3]!) === FAST_OPEN_EXPERIMENT) return true;
    }
    at += length;
  }
  return false;
}

/** The TCP header with its options; undefined when the bytes are none that the kernel would have saved. */
function tcpHeader(syn: Uint8Array): Uint8Array | undefined {
  const version = (syn[0] ?? 0) >> 4;
  // The kernel saves an IPv6 header without extension headers, as far as it got by without them.
  const start = version === 4 ? (syn[0]! & 15) * 4 : version === 6 && syn[6] === 6 ? 40 : -1;
  if (start < 20 || syn.length < start + 20) return undefined;
  const length = (syn[start + 12]! >> 4) * 4;
  if (length < 20 || syn.length < start + length) return undefined;
  return syn.subarray(start, start + length);
}
