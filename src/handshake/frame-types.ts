import type { Endpoint } from '../lib/address.ts';

/** The frames of handshake v1 and their sizes. `docs/protocol.md` section 3 is the same in words. */

export const VERSION = 1;

export const FRAME_TYPE = { hello: 1, reply: 2, proof: 3, verdict: 4, refusal: 5, retry: 6 } as const;

/** Most that a frame may announce, header included: a token of 4 KiB with all offers fits. */
export const MAX_FRAME_BYTES = 5120;

export const MAX_OFFERS = 8;
export const NONCE_BYTES = 32;
export const KEY_BYTES = 32;
export const SESSION_ID_BYTES = 16;
export const MAC_BYTES = 16;
export const SIGNATURE_BYTES = 64;
export const MAX_TOKEN_BYTES = 4096;
export const COOKIE_BYTES = 16;

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
