import { FrameFormat } from '../handshake/format.ts';
import { isMapped } from './flow-endpoints.ts';
import type { QueuedPacket } from './packet-path.ts';
import { hasRightChecksum } from './packets-checksum.ts';
import {
  destinationAddress,
  parseTcpPacket,
  payloadLength,
  sourceAddress,
  type TcpPacket,
} from './packets.ts';

/**
 * Reads a queued packet; undefined when it is not heard at all and has to be dropped: no TCP that this mode understands, not copied whole, with an
 * address that would be read as another one, or with a preamble under a checksum that our kernel would not accept.
 */
export function heardPacket(queued: QueuedPacket): TcpPacket | undefined {
  if (queued.truncated) return undefined;
  const packet = parseTcpPacket(queued.bytes);
  if ('error' in packet || hasMappedAddress(packet)) return undefined;
  if (payloadLength(packet) > 0 && startsWithMagic(packet) && !hasRightChecksum(packet)) return undefined;
  return packet;
}

/** Number of the interface that a packet came or goes by. */
export function deviceOf({ inInterface, outInterface }: QueuedPacket): number {
  return inInterface === 0 ? outInterface : inInterface;
}

/** Whether a packet's payload begins as a preamble does. */
export function startsWithMagic(packet: TcpPacket): boolean {
  const { bytes, payloadAt } = packet;
  const { magic } = FrameFormat;
  if (payloadLength(packet) < magic.length) return false;
  for (let index = 0; index < magic.length; index++) {
    if (bytes[payloadAt + index] !== magic[index]) return false;
  }
  return true;
}

/**
 * Whether a SYN bears the beginning of a preamble of the stream carrier: a sidecar dials our listener with Fast Open. What it says is for the listener to believe; that
 * byte is under the signatures.
 */
export function hasStreamHello(packet: TcpPacket): boolean {
  const { bytes, payloadAt } = packet;
  const { typeOffset, helloCarrierOffset } = FrameFormat;
  if (payloadLength(packet) <= helloCarrierOffset || !startsWithMagic(packet)) return false;
  return bytes[payloadAt + typeOffset] === 1 && bytes[payloadAt + helloCarrierOffset] === 1;
}

/** Such an address would be read as the IPv4 address in it. */
function hasMappedAddress(packet: TcpPacket): boolean {
  return packet.family === 6 && (isMapped(sourceAddress(packet)) || isMapped(destinationAddress(packet)));
}
