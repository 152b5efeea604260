import { carvedBytes } from '../lib/carved-bytes.ts';
import { finishPacket, write16, write32 } from './packets-checksum.ts';
import { blankFastOpen, type SynOptions } from './packets-options.ts';
import type { FlowTuple } from './packet-path.ts';
import { read16, sequenceDistance, type TcpPacket, TCP_FLAG } from './packets.ts';

/** The packet with another payload and, where given, another sequence number; checksums and lengths done. A copy. */
export function withPayload(
  packet: TcpPacket,
  payload: readonly Uint8Array[],
  sequence: number = packet.sequence,
  synOptions?: SynOptions,
): Uint8Array {
  let length = packet.payloadAt;
  for (const part of payload) length += part.length;
  const bytes = carvedBytes(length);
  bytes.set(packet.bytes.subarray(0, packet.payloadAt));
  let at = packet.payloadAt;
  for (const part of payload) {
    bytes.set(part, at);
    at += part.length;
  }
  write32(bytes, packet.tcpAt + 4, sequence);
  moveUrgent(bytes, packet, sequenceDistance(sequence, packet.sequence));
  if (synOptions !== undefined) blankFastOpen(bytes, synOptions);
  finishPacket(bytes, packet.family, packet.tcpAt);
  return bytes;
}

/** The urgent pointer counts from the sequence number (RFC 9293 section 3.1), so that the same byte stays urgent when that number moves. */
function moveUrgent(bytes: Uint8Array, { flags, tcpAt }: TcpPacket, back: number): void {
  if ((flags & TCP_FLAG.urg) === 0 || back === 0) return;
  const pointer = Math.min(0xffff, read16(bytes, tcpAt + 18) + back);
  // What was urgent is not in this packet, nor behind it.
  if (pointer <= 0) bytes[tcpAt + 13] = flags & ~TCP_FLAG.urg;
  write16(bytes, tcpAt + 18, Math.max(0, pointer));
}

/** What a packet made from nothing says. */
export interface Segment {
  readonly sequence: number;
  readonly acknowledgement: number;
  /** Bits of {@link TCP_FLAG}. */
  readonly flags: number;
  readonly window?: number;
  readonly payload?: Uint8Array;
}

const HOP_LIMIT = 64;
const DONT_FRAGMENT = 0x4000;

/** A packet from a tuple's source to its destination, without options; checksums done. */
export function buildPacket(tuple: FlowTuple, segment: Segment): Uint8Array {
  const payload = segment.payload ?? new Uint8Array(0);
  const tcpAt = tuple.family === 4 ? 20 : 40;
  const bytes = carvedBytes(tcpAt + 20 + payload.length);
  if (tuple.family === 4) {
    bytes[0] = 0x45;
    write16(bytes, 6, DONT_FRAGMENT);
    bytes[8] = HOP_LIMIT;
    bytes[9] = 6;
    bytes.set(tuple.sourceAddress, 12);
    bytes.set(tuple.destinationAddress, 16);
  } else {
    bytes[0] = 0x60;
    bytes[6] = 6;
    bytes[7] = HOP_LIMIT;
    bytes.set(tuple.sourceAddress, 8);
    bytes.set(tuple.destinationAddress, 24);
  }
  write16(bytes, tcpAt, tuple.sourcePort);
  write16(bytes, tcpAt + 2, tuple.destinationPort);
  write32(bytes, tcpAt + 4, segment.sequence);
  write32(bytes, tcpAt + 8, segment.acknowledgement);
  bytes[tcpAt + 12] = 5 << 4;
  bytes[tcpAt + 13] = segment.flags;
  write16(bytes, tcpAt + 14, segment.window ?? 0);
  bytes.set(payload, tcpAt + 20);
  finishPacket(bytes, tuple.family, tcpAt);
  return bytes;
}

/**
 * A RST along a tuple (RFC 9293 section 3.10.7): with ACK where the receiver has heard nothing from here yet (it is in SYN-SENT then), else
 * with the sequence number that it expects next.
 */
export function buildReset(
  tuple: FlowTuple,
  numbers: { readonly sequence: number; readonly acknowledgement?: number },
  payload?: Uint8Array,
): Uint8Array {
  const { sequence, acknowledgement } = numbers;
  return buildPacket(tuple, {
    sequence,
    acknowledgement: acknowledgement ?? 0,
    flags: acknowledgement === undefined ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
    ...(payload === undefined ? {} : { payload }),
  });
}
