import type { DenyReason } from '../observe/reasons.ts';
import type { RefusalCode } from './frame-types.ts';

/**
 * What a peer is told of a denial: enough to look in the right place, nothing about policy or keys. The exact reason stays in the own
 * log and metrics. Everything that is not listed is `handshake`.
 */
const CODES: Partial<Record<DenyReason, RefusalCode>> = {
  'policy-denied': 'policy',
  'unproven-denied': 'policy',
  'policy-changed': 'policy',
  'token-malformed': 'identity',
  'token-untrusted': 'identity',
  'token-expired': 'identity',
  'token-not-yet-valid': 'identity',
  'foreign-domain': 'identity',
  'proof-invalid': 'identity',
  'own-identity': 'identity',
  'wrong-peer': 'identity',
  'identity-unavailable': 'identity',
  'identity-revoked': 'identity',
  'version-unsupported': 'version',
  'encryption-unavailable': 'encryption',
  overloaded: 'overloaded',
  'not-ready': 'overloaded',
  draining: 'overloaded',
};

/** The coarse code for the peer. */
export function refusalCode(reason: DenyReason): RefusalCode {
  return CODES[reason] ?? 'handshake';
}
