import { readFileSync } from 'node:fs';

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const ETHERNET = 14;

/** The IP packets in a file that tcpdump wrote on an Ethernet device of this machine; a last one that is not whole is left out. */
export function capturedPackets(file: string): Uint8Array[] {
  const bytes = readFileSync(file);
  const packets: Uint8Array[] = [];
  for (let at = FILE_HEADER; at + RECORD_HEADER <= bytes.length;) {
    const length = bytes.readUInt32LE(at + 8);
    const end = at + RECORD_HEADER + length;
    if (end > bytes.length) break;
    const type = bytes.readUInt16BE(at + RECORD_HEADER + 12);
    if (type === 0x0800 || type === 0x86dd) packets.push(bytes.subarray(at + RECORD_HEADER + ETHERNET, end));
    at = end;
  }
  return packets;
}
