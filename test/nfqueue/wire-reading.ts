import { frameAtStart } from '../../src/nfqueue/carrier-frames.ts';
import { FRAME_TYPE } from '../../src/handshake/frame-types.ts';
import { parseTcpPacket, TCP_FLAG, type TcpPacket } from '../../src/nfqueue/packets.ts';

/** The packet, which has to be one. */
export function packetOf(bytes: Uint8Array): TcpPacket {
  const packet = parseTcpPacket(bytes);
  if ('error' in packet) throw new Error(packet.error);
  return packet;
}

/** `SYN ACK`. */
export function formatFlags(bytes: Uint8Array): string {
  const { flags } = packetOf(bytes);
  const names = ['syn', 'rst', 'fin', 'ack'] as const;
  return names
    .filter((name) => (flags & TCP_FLAG[name]) !== 0)
    .join(' ')
    .toUpperCase();
}

/** Names of the frames that a packet bears: none or one. */
export function frameTypes(bytes: Uint8Array): string[] {
  const frame = frameAtStart(packetOf(bytes));
  return Object.entries(FRAME_TYPE).flatMap(([name, number]) => (frame?.[9] === number ? [name] : []));
}
