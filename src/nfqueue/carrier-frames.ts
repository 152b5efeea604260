import { FrameFormat } from '../handshake/format.ts';
import { payloadLength, read16, sequenceAdd, sequenceDistance, type TcpPacket } from './packets.ts';

/**
 * How frames of the handshake ride on TCP packets. A frame on SYN or SYN-ACK is the packet's payload and is taken off again by the other side before
 * its kernel sees the packet. A frame on a later packet ends where the sender's stream begins: its first byte has the sequence number of the
 * stream's first byte less the frame's length. A kernel that gets one all the same takes it for old data and throws it away, so that no
 * application ever reads it (RFC 9293 section 3.10.7.4), and application bytes may follow it in the same packet.
 */

/** The whole frame that is a packet's payload, or the beginning of it; undefined when there is none. */
export function frameAtStart(packet: TcpPacket): Uint8Array | undefined {
  const { bytes, payloadAt } = packet;
  const { magic, headerBytes } = FrameFormat;
  const payload = payloadLength(packet);
  if (payload < headerBytes) return undefined;
  for (let index = 0; index < magic.length; index++) {
    if (bytes[payloadAt + index] !== magic[index]) return undefined;
  }
  const length = headerBytes + read16(bytes, payloadAt + 10);
  return length <= payload ? bytes.subarray(payloadAt, payloadAt + length) : undefined;
}

/** The frame that is the whole payload of a SYN, SYN-ACK or RST. */
export function wholeFrame(packet: TcpPacket): Uint8Array | undefined {
  const frame = frameAtStart(packet);
  return frame?.length === payloadLength(packet) ? frame : undefined;
}

/**
 * The frame before the beginning of the stream in a packet without SYN.
 * @param streamStart sequence number of the stream's first byte
 */
export function frameBefore(packet: TcpPacket, streamStart: number): Uint8Array | undefined {
  if (sequenceDistance(packet.sequence, streamStart) <= 0) return undefined;
  const frame = frameAtStart(packet);
  if (frame === undefined) return undefined;
  return sequenceAdd(packet.sequence, frame.length) === streamStart ? frame : undefined;
}
