/** Just enough of IPv4, IPv6 and TCP to look at packets in tests, written apart from the code under test. */
export interface SeenPacket {
  readonly family: 4 | 6;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: {
    readonly syn: boolean;
    readonly ack: boolean;
    readonly rst: boolean;
    readonly fin: boolean;
  };
  readonly data: Uint8Array;
}

/** Reads a packet without IPv6 extension headers. */
export function seen(bytes: Uint8Array): SeenPacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = bytes[0]! >>> 4 === 4 ? 4 : 6;
  const tcp = tcpAt(bytes);
  const flags = bytes[tcp + 13]!;
  return {
    family,
    sourcePort: view.getUint16(tcp),
    destinationPort: view.getUint16(tcp + 2),
    sequence: view.getUint32(tcp + 4),
    acknowledgement: view.getUint32(tcp + 8),
    flags: { syn: (flags & 2) > 0, ack: (flags & 16) > 0, rst: (flags & 4) > 0, fin: (flags & 1) > 0 },
    data: bytes.subarray(tcp + (bytes[tcp + 12]! >>> 4) * 4),
  };
}

/** The packet with other data behind the TCP header: lengths and checksums made anew. */
export function withData(bytes: Uint8Array, data: Uint8Array): Uint8Array {
  const tcp = tcpAt(bytes);
  const dataAt = tcp + (bytes[tcp + 12]! >>> 4) * 4;
  return finished(Buffer.concat([bytes.subarray(0, dataAt), data]));
}

/** A reset that answers a packet, as its receiver would send it; `back` is false for one that its sender would send. */
export function resetFor(bytes: Uint8Array, back: boolean): Uint8Array {
  const { sourcePort, destinationPort, sequence, acknowledgement, flags, data } = seen(bytes);
  const tcp = tcpAt(bytes);
  const out = Buffer.alloc(tcp + 20);
  out.set(bytes.subarray(0, tcp));
  const six = bytes[0]! >>> 4 === 6;
  const [at, length] = six ? [8, 16] : [12, 4];
  if (back) {
    out.set(bytes.subarray(at + length, at + 2 * length), at);
    out.set(bytes.subarray(at, at + length), at + length);
  }
  out.writeUInt16BE(back ? destinationPort : sourcePort, tcp);
  out.writeUInt16BE(back ? sourcePort : destinationPort, tcp + 2);
  const end = (sequence + data.length + (flags.syn ? 1 : 0)) >>> 0;
  out.writeUInt32BE(back ? (flags.ack ? acknowledgement : 0) : end, tcp + 4);
  out.writeUInt32BE(back ? end : acknowledgement, tcp + 8);
  out[tcp + 12] = 0x50;
  out[tcp + 13] = 4 | 16;
  return finished(out);
}

/** Sets the lengths and the checksums. */
function finished(packet: Buffer): Uint8Array {
  const six = packet[0]! >>> 4 === 6;
  const tcp = tcpAt(packet);
  const length = packet.length - tcp;
  packet.writeUInt16BE(0, tcp + 16);
  let pseudo: Buffer;
  if (six) {
    packet.writeUInt16BE(length, 4);
    pseudo = Buffer.concat([
      packet.subarray(8, 40),
      Buffer.from([0, 0, length >>> 8, length & 255, 0, 0, 0, 6]),
    ]);
  } else {
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE(0, 10);
    packet.writeUInt16BE(checksum(packet.subarray(0, tcp)), 10);
    pseudo = Buffer.concat([packet.subarray(12, 20), Buffer.from([0, 6, length >>> 8, length & 255])]);
  }
  packet.writeUInt16BE(checksum(Buffer.concat([pseudo, packet.subarray(tcp)])), tcp + 16);
  return packet;
}

function tcpAt(bytes: Uint8Array): number {
  return bytes[0]! >>> 4 === 4 ? (bytes[0]! & 15) * 4 : 40;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at]! << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65_536);
  return ~sum & 0xffff;
}
