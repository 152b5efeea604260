import type { SigningKey, VerifyingKey } from '../lib/curves.ts';
import { signatureInput } from './key-schedule.ts';

/** ES256 (RFC 7518 section 3.4: P-256, SHA-256, 64 bytes r‖s) over context and the hash of a transcript. */
export function signTranscript(privateKey: SigningKey, context: string, transcript: Uint8Array): Uint8Array {
  return privateKey.sign(signatureInput(context, transcript));
}

/** Whether the holder of the key signed this context and transcript. */
export function verifyTranscript(
  publicKey: VerifyingKey,
  context: string,
  transcript: Uint8Array,
  signature: Uint8Array,
): boolean {
  return publicKey.verify(signatureInput(context, transcript), signature);
}
