import { hash } from 'node:crypto';

/**
 * SHA-256 and HMAC-SHA-256 (RFC 2104) of several parts, in one call of OpenSSL each, over one buffer. `createHash` and `createHmac` make an
 * object per digest, and one per key, each of which the collector has to look at.
 */

const BLOCK_BYTES = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
const DIGEST_BYTES = 32;

/** Holds a whole transcript of the longest frames; what is longer gets a buffer of its own. */
let scratch = Buffer.alloc(24_576);
const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES);

/** SHA-256 over the parts one after the other. */
export function sha256(parts: readonly Uint8Array[]): Uint8Array {
  const end = write(parts, 0);
  return hash('sha256', scratch.subarray(0, end), 'buffer');
}

/**
 * HMAC-SHA-256 over `context`, a zero byte, and the parts one after the other.
 * @param key at most 64 bytes
 * @param context ASCII
 */
export function hmacSha256(key: Uint8Array, context: string, parts: readonly Uint8Array[]): Uint8Array {
  if (key.length > BLOCK_BYTES) throw new RangeError('a key longer than a block');
  const start = BLOCK_BYTES + context.length + 1;
  const end = write(parts, start);
  for (let index = 0; index < BLOCK_BYTES; index++) {
    const byte = key[index] ?? 0;
    scratch[index] = byte ^ INNER_PAD;
    outer[index] = byte ^ OUTER_PAD;
  }
  scratch.write(context, BLOCK_BYTES, 'latin1');
  scratch[start - 1] = 0;
  outer.set(hash('sha256', scratch.subarray(0, end), 'buffer'), BLOCK_BYTES);
  const digest = hash('sha256', outer, 'buffer');
  // The key is not left behind longer than it is used.
  scratch.fill(0, 0, BLOCK_BYTES);
  outer.fill(0);
  return digest;
}

/** @returns where the parts end in {@link scratch} */
function write(parts: readonly Uint8Array[], start: number): number {
  let end = start;
  for (const part of parts) end += part.length;
  if (end > scratch.length) scratch = Buffer.alloc(end);
  let at = start;
  for (const part of parts) {
    scratch.set(part, at);
    at += part.length;
  }
  return end;
}
