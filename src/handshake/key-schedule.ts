import { timingSafeEqual } from 'node:crypto';
import type { AgreementKey } from '../lib/curves.ts';
import { concat } from './byte-fields.ts';
import { hmacSha256, sha256 } from './digest.ts';
import { MAC_BYTES, SESSION_ID_BYTES } from './frame-types.ts';

/**
 * Keys and MACs of handshake v1. `docs/protocol.md` section 5 is the same in words, with vectors. Everything here is a
 * function of its arguments.
 */

/** What signatures and MACs are made for. No two roles and no two messages share one, so nothing can be reflected or moved. */
export const CONTEXT = {
  serverProof: 'countersign/1 server proof',
  clientProof: 'countersign/1 client proof',
  proofMac: 'countersign/1 proof mac',
  verdict: 'countersign/1 verdict',
  binder: 'countersign/1 resumption binder',
  resumed: 'countersign/1 resumed reply',
  clientRefusal: 'countersign/1 client refusal',
  serverRefusal: 'countersign/1 server refusal',
  admission: 'countersign/1 admission',
} as const;

/** The two that are signed, as bytes. */
const SIGNED_CONTEXT: ReadonlyMap<string, Uint8Array> = new Map(
  [CONTEXT.serverProof, CONTEXT.clientProof].map((context) => [context, Buffer.from(`${context}\0`)]),
);

const SALT = Buffer.from('countersign/1');
const INFO = Buffer.from('countersign/1 keys');
/** Session id and four keys. */
const OKM_BYTES = SESSION_ID_BYTES + 4 * 32;

/** Keys that both sides of one full handshake derive, all 32 bytes but the session id. */
export interface HandshakeKeys {
  readonly sessionId: Uint8Array;
  /** MACs of this handshake, one key per sender. */
  readonly clientMac: Uint8Array;
  readonly serverMac: Uint8Array;
  /** MACs of the connections that resume it, one key per sender. */
  readonly clientResume: Uint8Array;
  readonly serverResume: Uint8Array;
}

/** What signatures and keys are bound to: the hash of the frames so far. @param frames one after the other */
export function transcriptHash(frames: readonly Uint8Array[]): Uint8Array {
  return sha256(frames);
}

/**
 * X25519 (RFC 7748), then HKDF-SHA-256 (RFC 5869) over the transcript so far.
 * @param transcript the {@link transcriptHash} of the whole Hello and the Reply without its signature
 * @returns undefined when the peer's ephemeral key is one that forces an all-zero secret (RFC 7748 section 6.1)
 */
export function deriveKeys(
  ownEphemeral: AgreementKey,
  peerEphemeral: Uint8Array,
  transcript: Uint8Array,
): HandshakeKeys | undefined {
  const info = concat([INFO, transcript]);
  const okm = ownEphemeral.derive(peerEphemeral, SALT, info, OKM_BYTES);
  if (okm === undefined) return undefined;
  const key = (index: number): Uint8Array =>
    okm.slice(SESSION_ID_BYTES + index * 32, SESSION_ID_BYTES + (index + 1) * 32);
  const keys = {
    sessionId: okm.slice(0, SESSION_ID_BYTES),
    clientMac: key(0),
    serverMac: key(1),
    clientResume: key(2),
    serverResume: key(3),
  };
  okm.fill(0);
  return keys;
}

/** HMAC-SHA-256 over context, a zero byte, and the parts; cut to 16 bytes. */
export function mac(key: Uint8Array, context: string, parts: readonly Uint8Array[]): Uint8Array {
  return hmacSha256(key, context, parts).subarray(0, MAC_BYTES);
}

/** Compares in constant time. */
export function macEquals(expected: Uint8Array, given: Uint8Array): boolean {
  return expected.length === given.length && timingSafeEqual(expected, given);
}

/** What a proof of possession signs: context, a zero byte, and the {@link transcriptHash}. */
export function signatureInput(context: string, transcript: Uint8Array): Uint8Array {
  return concat([SIGNED_CONTEXT.get(context) ?? Buffer.from(`${context}\0`), transcript]);
}
