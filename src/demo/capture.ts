/** One TCP segment of a capture, as far as the demo looks. */
interface Segment {
  readonly source: string;
  readonly destination: string;
  readonly sequence: number;
  readonly syn: boolean;
  readonly payload: Buffer;
}

/**
 * What a client said at the beginning of a connection, out of a capture file (pcap, Ethernet, IPv4): the payload that went from one address to the other
 * behind the first SYN, in order and each byte once.
 */
export function firstConversation(pcap: Buffer, source: string, destination: string): Buffer {
  const segments = segmentsOf(pcap).filter((one) => one.source === source && one.destination === destination);
  const start = segments.find((one) => one.syn);
  if (start === undefined) return Buffer.alloc(0);
  const bytes: Buffer[] = [];
  let next = (start.sequence + 1) >>> 0;
  for (const segment of segments.slice(segments.indexOf(start) + 1)) {
    if (segment.syn) break;
    const seen = (next - segment.sequence) >>> 0;
    if (seen >= segment.payload.length || seen > 1 << 30) continue;
    bytes.push(segment.payload.subarray(seen));
    next = (next + segment.payload.length - seen) >>> 0;
  }
  return Buffer.concat(bytes);
}

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const ETHERNET = 14;

function segmentsOf(pcap: Buffer): Segment[] {
  const segments: Segment[] = [];
  if (pcap.length < FILE_HEADER || pcap.readUInt32LE(0) !== 0xa1b2c3d4) return segments;
  for (let at = FILE_HEADER; at + RECORD_HEADER <= pcap.length;) {
    const length = pcap.readUInt32LE(at + 8);
    const packet = pcap.subarray(at + RECORD_HEADER + ETHERNET, at + RECORD_HEADER + length);
    at += RECORD_HEADER + length;
    if (packet.length < 40 || packet[0]! >> 4 !== 4 || packet[9] !== 6) continue;
    const tcp = packet.subarray((packet[0]! & 15) * 4, packet.readUInt16BE(2));
    if (tcp.length < 20) continue;
    segments.push({
      source: [...packet.subarray(12, 16)].join('.'),
      destination: [...packet.subarray(16, 20)].join('.'),
      sequence: tcp.readUInt32BE(4),
      syn: (tcp[13]! & 2) !== 0,
      payload: tcp.subarray((tcp[12]! >> 4) * 4),
    });
  }
  return segments;
}
