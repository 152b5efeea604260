import { isIPv4, isIPv6 } from 'node:net';

/** An address and a port. The address is in the canonical text form that {@link canonicalAddress} gives. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** An IP address as numbers: four 32-bit words, most significant first; an IPv4 address sits in the last one. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly words: readonly [number, number, number, number];
}

/**
 * Reads an IP address. Strict: no leading zeros, no short forms, no zone (`010.1.0.7` has meant two different hosts to two
 * different parsers before). An IPv4-mapped IPv6 address is the IPv4 address it maps.
 * @returns undefined when the text is no address
 */
export function parseAddress(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { family: 4, words: [0, 0, 0, ipv4Word(text)] };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const words = ipv6Words(text);
  if (words[0] === 0 && words[1] === 0 && words[2] === 0xffff) {
    return { family: 4, words: [0, 0, 0, words[3]] };
  }
  return { family: 6, words };
}

/** The text form of an address: dotted quad, or RFC 5952 (lower case, longest run of zeros shortened). */
export function formatAddress(address: IpAddress): string {
  if (address.family === 4) {
    const word = address.words[3];
    return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
  }
  const groups = address.words.flatMap((word) => [word >>> 16, word & 0xffff]);
  const gap = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (gap === undefined) return hex.join(':');
  return `${hex.slice(0, gap.start).join(':')}::${hex.slice(gap.end).join(':')}`;
}

/** The one text by which an address is compared and looked up; undefined when the text is no address. */
export function canonicalAddress(text: string): string | undefined {
  const address = parseAddress(text);
  return address && formatAddress(address);
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function formatEndpoint(endpoint: Endpoint): string {
  return endpoint.address.includes(':')
    ? `[${endpoint.address}]:${endpoint.port}`
    : `${endpoint.address}:${endpoint.port}`;
}

function ipv4Word(text: string): number {
  let word = 0;
  for (const part of text.split('.')) word = word * 256 + Number(part);
  return word;
}

function ipv6Words(text: string): [number, number, number, number] {
  let hexOnly = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const word = ipv4Word(text.slice(lastColon + 1));
    hexOnly = `${text.slice(0, lastColon + 1)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;
  }
  const [head = '', tail] = hexOnly.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const groups = [...before, ...zeros, ...after].map((group) => Number.parseInt(group, 16));
  const word = (index: number): number => ((groups[index]! << 16) | groups[index + 1]!) >>> 0;
  return [word(0), word(2), word(4), word(6)];
}

function longestZeroRun(groups: readonly number[]): { start: number; end: number } | undefined {
  let best: { start: number; end: number } | undefined;
  for (let start = 0; start < groups.length; start++) {
    let end = start;
    while (groups[end] === 0) end++;
    if (end - start >= 2 && (best === undefined || end - start > best.end - best.start))
      best = { start, end };
    if (end > start) start = end;
  }
  return best;
}
