import { existsSync } from 'node:fs';

/**
 * What to bind for an address: `::` is every address of both families, and of IPv4 alone where the kernel has no IPv6. Where IPv6 is merely disabled a
 * socket of its family still takes IPv4 (ipv6(7), IPV6_V6ONLY).
 */
export function bindable(address: string): string {
  return address === '::' && !existsSync('/proc/net/if_inet6') ? '0.0.0.0' : address;
}
