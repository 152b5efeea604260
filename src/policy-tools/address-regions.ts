import { formatAddress, type IpAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, cidrCovers, parseCidr } from '../lib/cidr.ts';
import type { Mentions } from './mentions.ts';

/** Addresses that no policy tells apart: those of a block less the smaller blocks in it. */
export interface AddressRegion {
  /** `10.0.0.0/8`, or `other IPv4 addresses`. */
  readonly name: string;
  /** One of them, which no pod and no node has. */
  readonly address: string;
}

/**
 * One address for each region into which the blocks of policies, with their exceptions, cut the address space, and one of each
 * family that is in no block.
 * @param taken says whether a pod or node has an address: it stands for its owner, not for a region
 */
export function addressRegions({ cidrs }: Mentions, taken: (address: string) => boolean): AddressRegion[] {
  const roots: [string, string][] = [
    ['0.0.0.0/0', 'other IPv4 addresses'],
    ['::/0', 'other IPv6 addresses'],
  ];
  const blocks = [...cidrs].toSorted().flatMap((text) => {
    const cidr = parseCidr(text);
    return cidr === undefined || cidr.prefix === 0 ? [] : [{ name: text, cidr }];
  });
  const named = [...blocks, ...roots.map(([text, name]) => ({ name, cidr: parseCidr(text)! }))];
  return named.flatMap(({ name, cidr }) => {
    const inner = blocks
      .filter((one) => one.cidr !== cidr && cidrCovers(cidr, one.cidr))
      .map((one) => one.cidr);
    const address = freeAddress(cidr, inner, taken);
    return address === undefined ? [] : [{ name, address }];
  });
}

const MOST_TRIED = 100_000;
/** The first address of these is no host's: one that looks like a host is easier to read. */
const USUAL: Record<4 | 6, string> = { 4: '192.0.2.1/32', 6: '2001:db8::1/128' };

function freeAddress(
  cidr: Cidr,
  inner: readonly Cidr[],
  taken: (address: string) => boolean,
): string | undefined {
  const bits = cidr.family === 4 ? 32 : 128;
  const end = numberOf(cidr.network) + (1n << BigInt(bits - cidr.prefix));
  let next = cidr.prefix === 0 ? numberOf(parseCidr(USUAL[cidr.family])!.network) : numberOf(cidr.network);
  // A block's first address is mostly its network's name.
  if (cidr.prefix > 0 && cidr.prefix < bits - 1) next += 1n;
  for (let tried = 0; tried < MOST_TRIED && next < end; tried++) {
    const address: IpAddress = { family: cidr.family, words: wordsOf(next) };
    const hole = inner.find((one) => cidrContains(one, address));
    if (hole === undefined) {
      const text = formatAddress(address);
      if (!taken(text)) return text;
      next += 1n;
    } else {
      next = numberOf(hole.network) + (1n << BigInt(bits - hole.prefix));
    }
  }
  return undefined;
}

function numberOf(words: IpAddress['words']): bigint {
  return words.reduce((number, word) => (number << 32n) | BigInt(word >>> 0), 0n);
}

function wordsOf(number: bigint): [number, number, number, number] {
  const word = (shift: bigint): number => Number((number >> shift) & 0xffff_ffffn);
  return [word(96n), word(64n), word(32n), word(0n)];
}
