import { type KeyObject, sign, verify } from 'node:crypto';
import { signatureInput } from './key-schedule.ts';

/** ES256 (RFC 7518 section 3.4: P-256, SHA-256, 64 bytes r‖s) over context and transcript. */
export function signTranscript(
  privateKey: KeyObject,
  context: string,
  transcript: readonly Uint8Array[],
): Uint8Array {
  return sign('sha256', signatureInput(context, transcript), { key: privateKey, dsaEncoding: 'ieee-p1363' });
}

/** Whether the holder of the key signed this context and transcript. */
export function verifyTranscript(
  publicKey: KeyObject,
  context: string,
  transcript: readonly Uint8Array[],
  signature: Uint8Array,
): boolean {
  return verify(
    'sha256',
    signatureInput(context, transcript),
    { key: publicKey, dsaEncoding: 'ieee-p1363' },
    signature,
  );
}
