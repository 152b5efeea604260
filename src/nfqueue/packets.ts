import type { FlowTuple } from './packet-path.ts';

/** Flags of the TCP header (RFC 9293 section 3.1), by their bits in its fourteenth byte. */
export const TCP_FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const PROTOCOL_TCP = 6;
/** DF is allowed; MF and any offset make a fragment. */
const IPV4_FRAGMENT_BITS = 0x3fff;

/** A TCP packet whose headers were checked against its length: every offset lies inside `bytes`. */
export interface TcpPacket {
  /** IP header to the end of the payload, nothing behind it. */
  readonly bytes: Uint8Array;
  readonly family: 4 | 6;
  readonly tcpAt: number;
  readonly payloadAt: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Sequence and acknowledgement numbers, unsigned 32 bits. */
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Bits of {@link TCP_FLAG}. */
  readonly flags: number;
}

/** Why bytes are no packet that this mode understands; such a packet is dropped. */
export interface PacketError {
  readonly error: string;
}

/**
 * Reads an IPv4 or IPv6 packet with TCP in it. Strict: whatever could be read in two ways is refused. IPv4 options, IPv6 extension headers and
 * fragments are refused, since the kernel behind this mode would read them and this mode would not (RFC 7112, RFC 1858).
 */
export function parseTcpPacket(bytes: Uint8Array): TcpPacket | PacketError {
  const version = (bytes[0] ?? 0) >> 4;
  if (version === 4) return parseIpv4(bytes);
  if (version === 6) return parseIpv6(bytes);
  return { error: 'neither IPv4 nor IPv6' };
}

function parseIpv4(bytes: Uint8Array): TcpPacket | PacketError {
  if (bytes.length < IPV4_HEADER + TCP_HEADER) return { error: 'shorter than IPv4 and TCP headers' };
  if ((bytes[0]! & 15) !== 5) return { error: 'IPv4 options' };
  if ((read16(bytes, 6) & IPV4_FRAGMENT_BITS) !== 0) return { error: 'a fragment' };
  if (bytes[9] !== PROTOCOL_TCP) return { error: `protocol ${bytes[9]}, not TCP` };
  return parseTcp(bytes, 4, IPV4_HEADER, read16(bytes, 2));
}

function parseIpv6(bytes: Uint8Array): TcpPacket | PacketError {
  if (bytes.length < IPV6_HEADER + TCP_HEADER) return { error: 'shorter than IPv6 and TCP headers' };
  if (bytes[6] !== PROTOCOL_TCP) return { error: `IPv6 next header ${bytes[6]}, not TCP` };
  return parseTcp(bytes, 6, IPV6_HEADER, IPV6_HEADER + read16(bytes, 4));
}

function parseTcp(bytes: Uint8Array, family: 4 | 6, tcpAt: number, length: number): TcpPacket | PacketError {
  if (length > bytes.length) return { error: `${length} bytes announced, ${bytes.length} there` };
  const headerLength = (bytes[tcpAt + 12]! >> 4) * 4;
  const payloadAt = tcpAt + headerLength;
  if (headerLength < TCP_HEADER || payloadAt > length) return { error: 'TCP header length' };
  return {
    bytes: length === bytes.length ? bytes : bytes.subarray(0, length),
    family,
    tcpAt,
    payloadAt,
    sourcePort: read16(bytes, tcpAt),
    destinationPort: read16(bytes, tcpAt + 2),
    sequence: read32(bytes, tcpAt + 4),
    acknowledgement: read32(bytes, tcpAt + 8),
    flags: bytes[tcpAt + 13]! & 0x3f,
  };
}

/** The bytes after the TCP header, a view. */
export function payloadOf(packet: TcpPacket): Uint8Array {
  return packet.bytes.subarray(packet.payloadAt);
}

/** How many bytes there are after the TCP header. */
export function payloadLength(packet: TcpPacket): number {
  return packet.bytes.length - packet.payloadAt;
}

/** Whether SYN is set and ACK is not: the packet opens a connection. */
export function isOpening(packet: TcpPacket): boolean {
  return (packet.flags & (TCP_FLAG.syn | TCP_FLAG.ack)) === TCP_FLAG.syn;
}

/** Whether SYN and ACK are set. */
export function isSynAck(packet: TcpPacket): boolean {
  const both = TCP_FLAG.syn | TCP_FLAG.ack;
  return (packet.flags & both) === both;
}

/** Whether RST is set. */
export function isReset(packet: TcpPacket): boolean {
  return (packet.flags & TCP_FLAG.rst) !== 0;
}

/** The source address, a view of four or sixteen bytes. */
export function sourceAddress({ bytes, family }: TcpPacket): Uint8Array {
  return family === 4 ? bytes.subarray(12, 16) : bytes.subarray(8, 24);
}

/** The destination address, a view of four or sixteen bytes. */
export function destinationAddress({ bytes, family }: TcpPacket): Uint8Array {
  return family === 4 ? bytes.subarray(16, 20) : bytes.subarray(24, 40);
}

/** The packet's addresses and ports, copied; `reversed` gives those of its answer. */
export function tupleOf(packet: TcpPacket, reversed = false): FlowTuple {
  const [from, to] = [sourceAddress(packet).slice(), destinationAddress(packet).slice()];
  const { family, sourcePort, destinationPort } = packet;
  return reversed
    ? {
        family,
        sourceAddress: to,
        sourcePort: destinationPort,
        destinationAddress: from,
        destinationPort: sourcePort,
      }
    : { family, sourceAddress: from, sourcePort, destinationAddress: to, destinationPort };
}

/** The tuple of the opposite direction. */
export function reversedTuple(tuple: FlowTuple): FlowTuple {
  return {
    family: tuple.family,
    sourceAddress: tuple.destinationAddress,
    sourcePort: tuple.destinationPort,
    destinationAddress: tuple.sourceAddress,
    destinationPort: tuple.sourcePort,
  };
}

/** Sum of 32-bit sequence numbers, modulo 2^32. */
export function sequenceAdd(sequence: number, count: number): number {
  return (sequence + count) >>> 0;
}

/** How far `to` lies behind `from`, modulo 2^32 and signed (RFC 1982). */
export function sequenceDistance(from: number, to: number): number {
  return (to - from) | 0;
}

/** A big-endian 16-bit number; the caller has checked the bounds. */
export function read16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** A big-endian unsigned 32-bit number; the caller has checked the bounds. */
export function read32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
