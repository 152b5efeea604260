import { formatAddress, type IpAddress, parseAddress } from '../lib/address.ts';
import { type Cidr, parseCidr } from '../lib/cidr.ts';

/** A CIDR of a policy: `text` is its canonical form, `length` the prefix length as it was written. */
export interface LegacyCidr {
  readonly cidr: Cidr;
  readonly text: string;
  readonly length: number;
}

/**
 * Reads a CIDR as leniently as the API server does for `ipBlock` (`ParseCIDRSloppy`, legacy fields without
 * StrictIPCIDRValidation): leading zeros are decimal, bits behind the prefix are cut off, and an IPv4-mapped IPv6 block of at
 * least 96 bits is the IPv4 block. Whatever is not lenient here is `parseCidr`'s business.
 * @returns undefined when the API server refuses it too
 */
export function parseLegacyCidr(written: string): LegacyCidr | undefined {
  // No lawful notation is longer; what follows may then be done without thought for its cost.
  if (written.length > 128) return undefined;
  const match = /^([0-9A-Fa-f:.]+)\/([0-9]+)$/.exec(written);
  if (match === null) return undefined;
  const text = match[1]!.includes(':') ? withoutZerosV6(match[1]!) : withoutZeros(match[1]!);
  const length = Number(match[2]);
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const mapped = address.family === 4 && text.includes(':');
  const cidr = mapped ? mappedCidr(address, length) : parseCidr(`${text}/${length}`);
  if (cidr === undefined) return undefined;
  const network = formatAddress({ family: cidr.family, words: cidr.network });
  return { cidr, text: `${network}/${cidr.prefix}`, length };
}

function mappedCidr(address: IpAddress, length: number): Cidr | undefined {
  if (length >= 96) return parseCidr(`${formatAddress(address)}/${length - 96}`);
  // A prefix shorter than the mapping cuts into the ffff: what is left is an ordinary IPv6 block, and holds no IPv4 address.
  const cut = length <= 80 ? 0 : (0xffff << (96 - length)) & 0xffff;
  return parseCidr(`::${cut.toString(16)}:0:0/${length}`);
}

function withoutZeros(dotted: string): string {
  return dotted.replaceAll(/(^|\.)0+(?=\d)/g, '$1');
}

function withoutZerosV6(text: string): string {
  const groups = text.replaceAll(/(^|:)0+(?=[0-9A-Fa-f])/g, '$1');
  const colon = groups.lastIndexOf(':');
  return groups.includes('.') ? groups.slice(0, colon + 1) + withoutZeros(groups.slice(colon + 1)) : groups;
}
