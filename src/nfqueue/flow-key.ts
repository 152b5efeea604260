import type { TcpPacket } from './packets.ts';
import type { FlowTuple } from './packet-path.ts';

const scratch = Buffer.alloc(36);

/**
 * One text for a connection, the same for both of its directions: own address and port, then the other's. Bytes as latin1, for a map.
 * @param outgoing whether the packet leaves this pod
 */
export function flowKey(packet: TcpPacket, outgoing: boolean): string {
  const { bytes, family, sourcePort, destinationPort } = packet;
  const [sourceAt, length] = family === 4 ? [12, 4] : [8, 16];
  const [ownAt, otherAt] = outgoing ? [sourceAt, sourceAt + length] : [sourceAt + length, sourceAt];
  // Byte by byte: this runs for every queued packet, and two views of it would be garbage at once.
  for (let index = 0; index < length; index++) {
    scratch[index] = bytes[ownAt + index]!;
    scratch[length + index] = bytes[otherAt + index]!;
  }
  return outgoing
    ? withPorts(2 * length, sourcePort, destinationPort)
    : withPorts(2 * length, destinationPort, sourcePort);
}

/** The key of a connection by its tuple. @param outgoing whether this pod opened it */
export function tupleKey(tuple: FlowTuple, outgoing: boolean): string {
  const { sourceAddress: from, sourcePort, destinationAddress: to, destinationPort } = tuple;
  return outgoing
    ? keyOf(from, sourcePort, to, destinationPort)
    : keyOf(to, destinationPort, from, sourcePort);
}

function keyOf(own: Uint8Array, ownPort: number, other: Uint8Array, otherPort: number): string {
  scratch.set(own, 0);
  scratch.set(other, own.length);
  return withPorts(own.length * 2, ownPort, otherPort);
}

function withPorts(at: number, ownPort: number, otherPort: number): string {
  scratch.writeUInt16BE(ownPort, at);
  scratch.writeUInt16BE(otherPort, at + 2);
  return scratch.toString('latin1', 0, at + 4);
}
