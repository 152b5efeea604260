import { canonicalAddress } from './address.ts';

/** RTF_GATEWAY of `linux/route.h`. */
const VIA_GATEWAY = 0x2;
const NOWHERE = '0'.repeat(32);

/**
 * The gateways of IPv4 default routes, from the text of `/proc/net/route`: addresses are words of the machine's byte order, in hexadecimal.
 * @param endianness of this machine: `os.endianness()`
 */
export function defaultGateways4(text: string, endianness: 'LE' | 'BE'): string[] {
  return rows(text).flatMap(([, destination, gateway = '', flags = '', , , , mask]) => {
    if (destination !== '00000000' || mask !== '00000000' || !isHex(gateway, 8)) return [];
    if ((Number.parseInt(flags, 16) & VIA_GATEWAY) === 0) return [];
    const bytes = Buffer.from(gateway, 'hex');
    return [(endianness === 'LE' ? bytes.reverse() : bytes).join('.')];
  });
}

/** The gateways of IPv6 default routes, from the text of `/proc/net/ipv6_route`. */
export function defaultGateways6(text: string): string[] {
  return rows(text).flatMap(([destination, prefix, , , gateway = '', , , , flags = '']) => {
    if (destination !== NOWHERE || prefix !== '00' || !isHex(gateway, 32)) return [];
    if ((Number.parseInt(flags, 16) & VIA_GATEWAY) === 0) return [];
    return canonicalAddress(gateway.match(/..../g)!.join(':')) ?? [];
  });
}

function rows(text: string): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.length > 1);
}

function isHex(text: string, digits: number): boolean {
  return text.length === digits && /^[0-9A-Fa-f]+$/.test(text);
}
