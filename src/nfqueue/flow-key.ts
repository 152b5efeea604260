import { destinationAddress, sourceAddress, type TcpPacket } from './packets.ts';
import type { FlowTuple } from './packet-path.ts';

const scratch = Buffer.alloc(36);

/**
 * One text for a connection, the same for both of its directions: own address and port, then the other's. Bytes as latin1, for a map.
 * @param outgoing whether the packet leaves this pod
 */
export function flowKey(packet: TcpPacket, outgoing: boolean): string {
  const from = sourceAddress(packet);
  const to = destinationAddress(packet);
  return outgoing
    ? keyOf(from, packet.sourcePort, to, packet.destinationPort)
    : keyOf(to, packet.destinationPort, from, packet.sourcePort);
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
  const at = own.length * 2;
  scratch.writeUInt16BE(ownPort, at);
  scratch.writeUInt16BE(otherPort, at + 2);
  return scratch.toString('latin1', 0, at + 4);
}
