import { carvedBytes } from '../lib/carved-bytes.ts';
import { ByteReader } from './byte-fields.ts';
import { FrameFormat } from './format.ts';
import { decodeBody, encodeBody } from './frame-bodies.ts';
import { FRAME_TYPE, type Frame, type FrameError, MAC_BYTES, VERSION } from './frame-types.ts';

/**
 * The codec of handshake v1: bytes to typed frames and back. Pure, strict, canonical: every frame has exactly one encoding, and decoding
 * what encodes differently fails. `docs/protocol.md` section 3 is the same in words.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const body = encodeBody(frame);
  const bytes = carvedBytes(FrameFormat.headerBytes + body.length);
  bytes.set(FrameFormat.magic);
  bytes[8] = VERSION;
  bytes[9] = FRAME_TYPE[frame.type];
  bytes[10] = body.length >> 8;
  bytes[11] = body.length & 0xff;
  bytes.set(body, FrameFormat.headerBytes);
  return bytes;
}

/** Reads exactly one frame, header included. Slices are views of `bytes`. */
export function decodeFrame(bytes: Uint8Array): Frame | FrameError {
  if (bytes.length < FrameFormat.headerBytes) return malformed('shorter than a header');
  for (let index = 0; index < FrameFormat.magic.length; index++) {
    if (bytes[index] !== FrameFormat.magic[index]) return malformed('magic');
  }
  if (bytes[8] !== VERSION) {
    return {
      type: 'error',
      reason: 'version-unsupported',
      detail: `version ${bytes[8]}, spoken here is ${VERSION}`,
    };
  }
  const length = (bytes[10]! << 8) | bytes[11]!;
  if (bytes.length !== FrameFormat.headerBytes + length) return malformed('length');
  const reader = new ByteReader(bytes, FrameFormat.headerBytes);
  const frame = decodeBody(bytes[9]!, reader);
  if (frame === undefined || reader.failed) return malformed(reader.failure ?? `type ${bytes[9]}`);
  if (reader.remaining !== 0) return malformed(`${reader.remaining} bytes too many`);
  return frame;
}

/** What a Hello's binders are MACs of: the frame up to them, the header with its final length included. */
export function helloBinderInput(encodedHello: Uint8Array, offers: number): Uint8Array {
  return encodedHello.subarray(0, encodedHello.length - MAC_BYTES - offers * MAC_BYTES);
}

/** What the admission MAC covers: everything before it. */
export function helloAdmissionInput(encodedHello: Uint8Array): Uint8Array {
  return encodedHello.subarray(0, encodedHello.length - MAC_BYTES);
}

/** A frame without the MAC or signature of `length` bytes that ends it: what that MAC or signature is made over. */
export function withoutTail(encoded: Uint8Array, length: number): Uint8Array {
  return encoded.subarray(0, encoded.length - length);
}

function malformed(detail: string): FrameError {
  return { type: 'error', reason: 'frame-malformed', detail };
}
