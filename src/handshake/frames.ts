import type { Endpoint } from '../lib/address.ts';
import { canonicalAddress, formatAddress, parseAddress } from '../lib/address.ts';
import { FrameFormat } from './format.ts';

/**
 * The codec of handshake v1: bytes to typed frames and back. Pure, strict, canonical: every frame has exactly one encoding, and decoding
 * what encodes differently fails. `docs/protocol.md` section 3 is the same in words.
 */

export const VERSION = 1;

export const FRAME_TYPE = { hello: 1, reply: 2, proof: 3, verdict: 4, refusal: 5, retry: 6 } as const;

/** Most that a frame may announce, header included: a token of 4 KiB with all offers fits. */
export const MAX_FRAME_BYTES = 5120;

/** What the SYN carrier has room for on a path with an MTU of 1280: see `docs/protocol.md` section 7. */
export const MAX_SYN_FRAME_BYTES = 1200;

export const MAX_OFFERS = 8;
export const NONCE_BYTES = 32;
export const KEY_BYTES = 32;
export const SESSION_ID_BYTES = 16;
export const MAC_BYTES = 16;
export const SIGNATURE_BYTES = 64;
const MAX_TOKEN_BYTES = 4096;
const COOKIE_BYTES = 16;

export type Carrier = 'stream' | 'syn';

/** Bits of the wish byte. Encryption comes later; its wishes are signed from the first version on, so that nobody can strip them. */
export interface Wishes {
  readonly encryption: 'none' | 'wanted' | 'required';
}

export interface Offer {
  readonly sessionId: Uint8Array;
  readonly counter: bigint;
}

export interface Hello {
  readonly type: 'hello';
  readonly wishes: Wishes;
  readonly carrier: Carrier;
  readonly nonce: Uint8Array;
  readonly ephemeral: Uint8Array;
  readonly destination: Endpoint;
  /** Answer to a Retry: empty or 16 bytes. */
  readonly cookie: Uint8Array;
  readonly token: Uint8Array;
  readonly offers: readonly Offer[];
  /** One per offer: MAC of {@link helloBinderInput} under the session's client key. */
  readonly binders: readonly Uint8Array[];
  readonly admission: Uint8Array;
}

export interface FullReply {
  readonly type: 'reply';
  readonly mode: 'full';
  readonly wishes: Wishes;
  readonly nonce: Uint8Array;
  readonly ephemeral: Uint8Array;
  readonly token: Uint8Array;
  readonly signature: Uint8Array;
}

export interface ResumedReply {
  readonly type: 'reply';
  readonly mode: 'resumed';
  readonly wishes: Wishes;
  readonly nonce: Uint8Array;
  readonly sessionId: Uint8Array;
  readonly mac: Uint8Array;
}

export interface Proof {
  readonly type: 'proof';
  readonly signature: Uint8Array;
  readonly mac: Uint8Array;
}

/** Told after a full handshake alone; a resumed Reply is its own verdict. `lifetime`: seconds that the session may be resumed. */
export interface Verdict {
  readonly type: 'verdict';
  readonly lifetime: number;
  readonly mac: Uint8Array;
}

/** What a refused peer learns: enough to look in the right place, nothing about policy or keys. */
export const REFUSAL_CODES = {
  policy: 1,
  identity: 2,
  handshake: 3,
  overloaded: 4,
  version: 5,
  encryption: 6,
} as const;
export type RefusalCode = keyof typeof REFUSAL_CODES;

export interface Refusal {
  readonly type: 'refusal';
  readonly code: RefusalCode;
  /** Empty before keys exist: such a refusal is a hint, and nothing may be concluded from it. */
  readonly mac: Uint8Array;
}

export interface Retry {
  readonly type: 'retry';
  readonly cookie: Uint8Array;
}

export type Frame = Hello | FullReply | ResumedReply | Proof | Verdict | Refusal | Retry;

/** Why bytes are no frame; `version` is told apart because the remedy is another one. */
export interface FrameError {
  readonly type: 'error';
  readonly reason: 'frame-malformed' | 'version-unsupported';
  readonly detail: string;
}

const EMPTY = new Uint8Array(0);

export function encodeFrame(frame: Frame): Uint8Array {
  const body = encodeBody(frame);
  const bytes = new Uint8Array(FrameFormat.headerBytes + body.length);
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
  const reader = new Reader(bytes, FrameFormat.headerBytes);
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

function encodeBody(frame: Frame): Uint8Array {
  switch (frame.type) {
    case 'hello':
      return concat([
        Uint8Array.of(encodeWishes(frame.wishes), frame.carrier === 'stream' ? 1 : 2),
        frame.nonce,
        frame.ephemeral,
        encodeEndpoint(frame.destination),
        Uint8Array.of(frame.cookie.length),
        frame.cookie,
        u16(frame.token.length),
        frame.token,
        Uint8Array.of(frame.offers.length),
        ...frame.offers.flatMap((offer) => [offer.sessionId, u64(offer.counter)]),
        ...frame.binders,
        frame.admission,
      ]);
    case 'reply':
      if (frame.mode === 'resumed') {
        return concat([
          Uint8Array.of(2, encodeWishes(frame.wishes)),
          frame.nonce,
          frame.sessionId,
          frame.mac,
        ]);
      }
      return concat([
        Uint8Array.of(1, encodeWishes(frame.wishes)),
        frame.nonce,
        frame.ephemeral,
        u16(frame.token.length),
        frame.token,
        frame.signature,
      ]);
    case 'proof':
      return concat([frame.signature, frame.mac]);
    case 'verdict':
      return concat([u16(frame.lifetime), frame.mac]);
    case 'refusal':
      return concat([Uint8Array.of(REFUSAL_CODES[frame.code], frame.mac.length), frame.mac]);
    case 'retry':
      return frame.cookie;
  }
}

function decodeBody(type: number, reader: Reader): Frame | undefined {
  switch (type) {
    case FRAME_TYPE.hello:
      return decodeHello(reader);
    case FRAME_TYPE.reply:
      return decodeReply(reader);
    case FRAME_TYPE.proof:
      return { type: 'proof', signature: reader.bytes(SIGNATURE_BYTES), mac: reader.bytes(MAC_BYTES) };
    case FRAME_TYPE.verdict:
      return { type: 'verdict', lifetime: reader.u16(), mac: reader.bytes(MAC_BYTES) };
    case FRAME_TYPE.refusal: {
      const number = reader.u8();
      const code = (Object.keys(REFUSAL_CODES) as RefusalCode[]).find((key) => REFUSAL_CODES[key] === number);
      const length = reader.u8();
      if (code === undefined) return reader.fail('refusal code');
      if (length !== 0 && length !== MAC_BYTES) return reader.fail('MAC length');
      return { type: 'refusal', code, mac: reader.bytes(length) };
    }
    case FRAME_TYPE.retry:
      return { type: 'retry', cookie: reader.bytes(COOKIE_BYTES) };
    default:
      return undefined;
  }
}

function decodeHello(reader: Reader): Hello | undefined {
  const wishes = decodeWishes(reader);
  const carrier = reader.u8();
  if (wishes === undefined || (carrier !== 1 && carrier !== 2)) return reader.fail('wishes or carrier');
  const nonce = reader.bytes(NONCE_BYTES);
  const ephemeral = reader.bytes(KEY_BYTES);
  const destination = decodeEndpoint(reader);
  const cookieLength = reader.u8();
  if (destination === undefined) return reader.fail('destination');
  if (cookieLength !== 0 && cookieLength !== COOKIE_BYTES) return reader.fail('cookie length');
  const cookie = reader.bytes(cookieLength);
  const token = decodeToken(reader);
  const count = reader.u8();
  if (token === undefined || count > MAX_OFFERS) return reader.fail('token or number of offers');
  const offers: Offer[] = [];
  for (let index = 0; index < count; index++) {
    offers.push({ sessionId: reader.bytes(SESSION_ID_BYTES), counter: reader.u64() });
  }
  const binders = offers.map(() => reader.bytes(MAC_BYTES));
  const admission = reader.bytes(MAC_BYTES);
  return {
    type: 'hello',
    wishes,
    carrier: carrier === 1 ? 'stream' : 'syn',
    nonce,
    ephemeral,
    destination,
    cookie,
    token,
    offers,
    binders,
    admission,
  };
}

function decodeReply(reader: Reader): FullReply | ResumedReply | undefined {
  const mode = reader.u8();
  const wishes = decodeWishes(reader);
  if (wishes === undefined) return reader.fail('wishes');
  const nonce = reader.bytes(NONCE_BYTES);
  if (mode === 2) {
    return {
      type: 'reply',
      mode: 'resumed',
      wishes,
      nonce,
      sessionId: reader.bytes(SESSION_ID_BYTES),
      mac: reader.bytes(MAC_BYTES),
    };
  }
  if (mode !== 1) return reader.fail('mode');
  const ephemeral = reader.bytes(KEY_BYTES);
  const token = decodeToken(reader);
  if (token === undefined) return reader.fail('token');
  return {
    type: 'reply',
    mode: 'full',
    wishes,
    nonce,
    ephemeral,
    token,
    signature: reader.bytes(SIGNATURE_BYTES),
  };
}

function decodeToken(reader: Reader): Uint8Array | undefined {
  const length = reader.u16();
  return length === 0 || length > MAX_TOKEN_BYTES ? undefined : reader.bytes(length);
}

const WISH_BITS = { none: 0, wanted: 1, required: 3 } as const;

function encodeWishes(wishes: Wishes): number {
  return WISH_BITS[wishes.encryption];
}

function decodeWishes(reader: Reader): Wishes | undefined {
  const bits = reader.u8();
  const encryption = (Object.keys(WISH_BITS) as (keyof typeof WISH_BITS)[]).find(
    (key) => WISH_BITS[key] === bits,
  );
  return encryption === undefined ? undefined : { encryption };
}

function encodeEndpoint(endpoint: Endpoint): Uint8Array {
  const address = parseAddress(endpoint.address);
  if (address === undefined) throw new TypeError(`not an address: ${endpoint.address}`);
  const words = address.family === 4 ? address.words.slice(3) : address.words;
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  return Uint8Array.of(address.family, endpoint.port >> 8, endpoint.port & 255, ...bytes);
}

function decodeEndpoint(reader: Reader): Endpoint | undefined {
  const family = reader.u8();
  const port = reader.u16();
  if (family === 4) {
    const word = reader.u32();
    return { address: formatAddress({ family: 4, words: [0, 0, 0, word] }), port };
  }
  if (family !== 6) return undefined;
  const text = formatAddress({ family: 6, words: [reader.u32(), reader.u32(), reader.u32(), reader.u32()] });
  // A mapped address has an encoding of its own as IPv4; a second one would be another transcript for the same place.
  return canonicalAddress(text) === text ? { address: text, port } : undefined;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** The parts one after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Reads forward and remembers the first failure, so that a decoder checks bounds in one place. */
class Reader {
  readonly #bytes: Uint8Array;
  #offset: number;
  failure: string | undefined;

  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes;
    this.#offset = offset;
  }

  get failed(): boolean {
    return this.failure !== undefined;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  fail(what: string): undefined {
    this.failure ??= what;
    return undefined;
  }

  bytes(length: number): Uint8Array {
    if (this.remaining < length) {
      this.fail('truncated');
      return EMPTY;
    }
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  u8(): number {
    return this.bytes(1)[0] ?? 0;
  }

  u16(): number {
    return this.u8() * 256 + this.u8();
  }

  u32(): number {
    return this.u16() * 65536 + this.u16();
  }

  u64(): bigint {
    return BigInt(this.u32()) * 4294967296n + BigInt(this.u32());
  }
}
