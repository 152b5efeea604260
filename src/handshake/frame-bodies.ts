import type { Endpoint } from '../lib/address.ts';
import { canonicalAddress, formatAddress, parseAddress } from '../lib/address.ts';
import { type ByteReader, concat, u16, u64 } from './byte-fields.ts';
import {
  COOKIE_BYTES,
  FRAME_TYPE,
  type Frame,
  type FullReply,
  type Hello,
  KEY_BYTES,
  MAC_BYTES,
  MAX_OFFERS,
  MAX_TOKEN_BYTES,
  NONCE_BYTES,
  type Offer,
  REFUSAL_CODES,
  type RefusalCode,
  type ResumedReply,
  SESSION_ID_BYTES,
  SIGNATURE_BYTES,
  type Wishes,
} from './frame-types.ts';

/** What stands behind the header of a frame. */
export function encodeBody(frame: Frame): Uint8Array {
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

/** Reads what stands behind the header of a frame of this type; undefined, or a failed reader, when it is none. */
export function decodeBody(type: number, reader: ByteReader): Frame | undefined {
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

function decodeHello(reader: ByteReader): Hello | undefined {
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

function decodeReply(reader: ByteReader): FullReply | ResumedReply | undefined {
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

function decodeToken(reader: ByteReader): Uint8Array | undefined {
  const length = reader.u16();
  return length === 0 || length > MAX_TOKEN_BYTES ? undefined : reader.bytes(length);
}

const WISH_BITS = { none: 0, wanted: 1, required: 3 } as const;
const WISHES_BY_BITS: ReadonlyMap<number, Wishes> = new Map([
  [WISH_BITS.none, { encryption: 'none' }],
  [WISH_BITS.wanted, { encryption: 'wanted' }],
  [WISH_BITS.required, { encryption: 'required' }],
]);

function encodeWishes(wishes: Wishes): number {
  return WISH_BITS[wishes.encryption];
}

function decodeWishes(reader: ByteReader): Wishes | undefined {
  return WISHES_BY_BITS.get(reader.u8());
}

function encodeEndpoint(endpoint: Endpoint): Uint8Array {
  const address = parseAddress(endpoint.address);
  if (address === undefined) throw new TypeError(`not an address: ${endpoint.address}`);
  const words = address.family === 4 ? address.words.slice(3) : address.words;
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  return Uint8Array.of(address.family, endpoint.port >> 8, endpoint.port & 255, ...bytes);
}

function decodeEndpoint(reader: ByteReader): Endpoint | undefined {
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
