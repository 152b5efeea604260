import { type Endpoint, formatAddress, parseAddress } from '../lib/address.ts';
import type { FlowTuple } from './packet-path.ts';
import { read32 } from './packets.ts';

/** An address of a packet as text. A mapped IPv6 address stays what it was on the wire and is nobody's: see {@link isMapped}. */
export function addressText(bytes: Uint8Array): string {
  return bytes.length === 4
    ? formatAddress({ family: 4, words: [0, 0, 0, read32(bytes, 0)] })
    : formatAddress({
        family: 6,
        words: [read32(bytes, 0), read32(bytes, 4), read32(bytes, 8), read32(bytes, 12)],
      });
}

/** An IPv4-mapped IPv6 address on the wire (RFC 4291 section 2.5.5.2): no packet may bear one, since it would be read as the IPv4 address. */
export function isMapped(bytes: Uint8Array): boolean {
  return (
    bytes.length === 16 && read32(bytes, 0) === 0 && read32(bytes, 4) === 0 && read32(bytes, 8) === 0xffff
  );
}

/** An IPv6 address of one link (RFC 4291 section 2.5.6): it says nothing without the interface. */
export function isLinkLocal(bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}

/** Who opened the connection and whom it was for. */
export function endpointsOf(tuple: FlowTuple): { source: Endpoint; destination: Endpoint } {
  return {
    source: { address: addressText(tuple.sourceAddress), port: tuple.sourcePort },
    destination: { address: addressText(tuple.destinationAddress), port: tuple.destinationPort },
  };
}

/** The bytes of an address's canonical text; undefined when it is none. */
export function addressBytes(text: string): Uint8Array | undefined {
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  const words = address.family === 4 ? address.words.slice(3) : address.words;
  return Uint8Array.from(
    words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]),
  );
}
