import type { DenyReason } from '../observe/reasons.ts';
import type { PeerIdentity } from './credentials.ts';
import type { Session } from './sessions.ts';

/** How a peer proved itself: with signatures, or with a session of an earlier connection. */
export type HandshakeKind = 'full' | 'resumed';

/** Time as a machine gets it: monotonic milliseconds for sessions, seconds since the epoch for tokens. */
export interface Clock {
  readonly monotonic: number;
  readonly epochSeconds: number;
}

/**
 * What a machine asks its driver to do, in this order. `judge`: the peer has proven itself, answer with a `judged` event. `forward`: the
 * client's application bytes may follow. `established` and `failed` end the machine.
 */
export type Effect<I extends PeerIdentity> =
  | { readonly kind: 'send'; readonly bytes: Uint8Array }
  | { readonly kind: 'judge'; readonly peer: I; readonly handshake: HandshakeKind }
  | { readonly kind: 'forward' }
  | {
      readonly kind: 'established';
      readonly peer: I;
      readonly handshake: HandshakeKind;
      /** The server's, which later connections may resume. */
      readonly session?: Session<I>;
    }
  | Failure<I>;

/** The end of a handshake without a connection. `detail` is for the local log and never leaves this host. */
export interface Failure<I extends PeerIdentity> {
  readonly kind: 'failed';
  readonly reason: DenyReason;
  readonly detail: string;
  /** Set when the peer had proven itself by then. */
  readonly peer?: I;
}

/** What happens to a machine: a whole frame came, or the driver's answer to `judge`. */
export type HandshakeEvent =
  | { readonly kind: 'frame'; readonly bytes: Uint8Array }
  | { readonly kind: 'judged'; readonly verdict: { readonly allow: true } | Denied };

export interface Denied {
  readonly allow: false;
  readonly reason: DenyReason;
  readonly detail: string;
}

/** A machine's answer: where it stands now, and what is to be done. */
export interface Step<S, I extends PeerIdentity> {
  readonly state: S;
  readonly effects: readonly Effect<I>[];
}
