import type { KeyObject } from 'node:crypto';
import type { VerifyingKey } from '../lib/curves.ts';
import { signEs256 } from '../lib/es256.ts';
import { signatureInput } from './key-schedule.ts';

/** ES256 (RFC 7518 section 3.4: P-256, SHA-256, 64 bytes r‖s) over context and transcript. */
export function signTranscript(
  privateKey: KeyObject,
  context: string,
  transcript: readonly Uint8Array[],
): Uint8Array {
  return signEs256(privateKey, signatureInput(context, transcript));
}

/** Whether the holder of the key signed this context and transcript. */
export function verifyTranscript(
  publicKey: VerifyingKey,
  context: string,
  transcript: readonly Uint8Array[],
  signature: Uint8Array,
): boolean {
  return publicKey.verify(signatureInput(context, transcript), signature);
}
