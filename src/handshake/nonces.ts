import { randomFillSync } from 'node:crypto';
import { NONCE_BYTES } from './frame-types.ts';

/** So many nonces come from one call of the system's generator: a call for each would be a twentieth of what a resumed connection costs. */
const AT_ONCE = 128;

const drawn = new Uint8Array(AT_ONCE * NONCE_BYTES);
let used = drawn.length;

/** A nonce that was never given before. What goes over the wire in clear, so that it may lie here before. */
export function drawNonce(): Uint8Array {
  if (used === drawn.length) {
    randomFillSync(drawn);
    used = 0;
  }
  const nonce = drawn.slice(used, used + NONCE_BYTES);
  used += NONCE_BYTES;
  return nonce;
}
