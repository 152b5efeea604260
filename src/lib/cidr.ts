import { formatAddress, type IpAddress, parseAddress } from './address.ts';

/** A block of addresses: those whose first `prefix` bits equal those of `network`. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly prefix: number;
  readonly network: IpAddress['words'];
  readonly mask: IpAddress['words'];
}

/**
 * Reads CIDR notation. Bits behind the prefix are masked off, as the API server's validation lets them pass.
 * @returns undefined when the text is no CIDR
 */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  // A mapped IPv6 block would silently turn into an IPv4 block with a prefix over 32: refused.
  if (
    address === undefined ||
    !/^(0|[1-9]\d{0,2})$/.test(digits) ||
    (address.family === 4 && text.includes(':'))
  ) {
    return undefined;
  }
  const prefix = Number(digits);
  if (prefix > (address.family === 4 ? 32 : 128)) return undefined;
  const mask = maskWords(address.family === 4 ? prefix + 96 : prefix);
  const masked = (index: 0 | 1 | 2 | 3): number => (address.words[index] & mask[index]) >>> 0;
  return { family: address.family, prefix, network: [masked(0), masked(1), masked(2), masked(3)], mask };
}

/** The first address after that of the block itself, which many networks give to the gateway; undefined where a block has no room for one. */
export function firstHost({ family, prefix, network }: Cidr): string | undefined {
  if (prefix > (family === 4 ? 30 : 126)) return undefined;
  const [a, b, c, d] = network;
  return formatAddress({ family, words: [a, b, c, (d | 1) >>> 0] });
}

/** Whether the address lies in the block. An address of the other family never does. */
export function cidrContains(cidr: Cidr, address: IpAddress): boolean {
  if (cidr.family !== address.family) return false;
  for (let index = 0 as 0 | 1 | 2 | 3; ; index++) {
    if ((address.words[index] & cidr.mask[index]) >>> 0 !== cidr.network[index]) return false;
    if (index === 3) return true;
  }
}

/** Whether every address of `inner` lies in `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.prefix <= inner.prefix && cidrContains(outer, { family: inner.family, words: inner.network });
}

function maskWords(bits: number): [number, number, number, number] {
  const word = (index: number): number => {
    const ones = Math.min(32, Math.max(0, bits - index * 32));
    return ones === 0 ? 0 : (0xffffffff << (32 - ones)) >>> 0;
  };
  return [word(0), word(1), word(2), word(3)];
}
