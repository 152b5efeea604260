import type { TcpPacket } from './packets.ts';

/** Sum of the 16-bit words of a range (RFC 1071), not folded: at most 64 KiB are summed, so it stays exact. */
function sumWords(bytes: Uint8Array, from: number, to: number): number {
  let sum = 0;
  let at = from;
  for (; at + 1 < to; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) sum += bytes[at]! << 8;
  return sum;
}

function folded(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x1_0000);
  return rest;
}

/** The one's complement sum over pseudo-header, TCP header and payload: 0xffff when the checksum in it is right. */
function tcpSum(bytes: Uint8Array, family: 4 | 6, tcpAt: number): number {
  const [addressesAt, addressesEnd] = family === 4 ? [12, 20] : [8, 40];
  const length = bytes.length - tcpAt;
  return folded(
    sumWords(bytes, addressesAt, addressesEnd) + 6 + length + sumWords(bytes, tcpAt, bytes.length),
  );
}

/** Whether the TCP checksum of a packet is right (RFC 9293 section 3.1; RFC 8200 section 8.1). */
export function hasRightChecksum({ bytes, family, tcpAt }: TcpPacket): boolean {
  return tcpSum(bytes, family, tcpAt) === 0xffff;
}

/** Writes the packet's length and checksums, IP and TCP, into its bytes. */
export function finishPacket(bytes: Uint8Array, family: 4 | 6, tcpAt: number): void {
  if (family === 4) {
    write16(bytes, 2, bytes.length);
    write16(bytes, 10, 0);
    write16(bytes, 10, ~folded(sumWords(bytes, 0, tcpAt)) & 0xffff);
  } else {
    write16(bytes, 4, bytes.length - tcpAt);
  }
  write16(bytes, tcpAt + 16, 0);
  write16(bytes, tcpAt + 16, ~tcpSum(bytes, family, tcpAt) & 0xffff);
}

/** Writes a big-endian 16-bit number. */
export function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value & 0xff;
}

/** Writes a big-endian 32-bit number. */
export function write32(bytes: Uint8Array, at: number, value: number): void {
  write16(bytes, at, value >>> 16);
  write16(bytes, at + 2, value & 0xffff);
}
