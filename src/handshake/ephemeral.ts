import type { EphemeralKey } from '../lib/curves.ts';
import { NODE_CURVES } from '../lib/node-curves.ts';
import { drawNonce } from './nonces.ts';

/** What a side draws at random for one handshake. Made outside the machine, so that the machine is a function of its inputs. */
export interface Randomness extends EphemeralKey {
  readonly nonce: Uint8Array;
}

/**
 * Draws a nonce, and an ephemeral key when it is first asked for: a server that resumes a session needs none.
 * @param takeKey gives a key that nobody else gets
 */
export function drawRandomness(takeKey: () => EphemeralKey = NODE_CURVES.generateEphemeral): Randomness {
  let key: EphemeralKey | undefined;
  return {
    nonce: drawNonce(),
    get privateKey() {
      return (key ??= takeKey()).privateKey;
    },
    get publicKey() {
      return (key ??= takeKey()).publicKey;
    },
  };
}
