import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Denied, HandshakeKind } from '../handshake/outcome.ts';
import type { DenyReason } from '../observe/reasons.ts';
import type { FlowTuple } from './packet-path.ts';
import type { TcpPacket } from './packets.ts';

/** What happens to a flow: a packet of it waits for its verdict, or time has passed. `out` is from this pod. */
export type FlowEvent =
  { readonly kind: 'out' | 'in'; readonly packet: TcpPacket } | { readonly kind: 'tick' };

/**
 * What a flow asks its driver to do, in this order. Every packet event gets exactly one of `pass` and `drop`. `verified` comes when the last packet
 * of ours that bears identity has left. A client's comes before the packet that makes its kernel speak: what that says then is not queued any more. A
 * server's comes after the packet with the Proof has passed: until then its kernel may know nothing of the connection (SYN cookies), and what overtook
 * that packet would be answered with a RST.
 */
export type FlowEffect<I extends PeerIdentity> =
  /** The packet may go on, changed where bytes are given. */
  | { readonly kind: 'pass'; readonly bytes?: Uint8Array }
  | { readonly kind: 'drop' }
  /** Send a packet of our own. */
  | { readonly kind: 'inject'; readonly bytes: Uint8Array }
  /** From here on the flow is the kernel's. */
  | { readonly kind: 'verified' }
  | { readonly kind: 'established'; readonly peer: I; readonly handshake: HandshakeKind }
  | {
      readonly kind: 'failed';
      readonly reason: DenyReason;
      readonly detail: string;
      readonly peer?: I;
    }
  /** The path or the server does not speak this carrier: the application's next SYN goes to the stream carrier. */
  | { readonly kind: 'fallback'; readonly detail: string };

/** A reducer's answer. */
export interface FlowStep<S, I extends PeerIdentity> {
  readonly state: S;
  readonly effects: readonly FlowEffect<I>[];
}

/** What both roles need beside their handshake's context. */
export interface FlowContext<I extends PeerIdentity> {
  /** From client to server. */
  readonly tuple: FlowTuple;
  /** The verdict of policy about a peer that has proven itself; at once, since nothing is dialled here. */
  readonly judge: (peer: I, handshake: HandshakeKind) => { readonly allow: true } | Denied;
}

/** Times of a flow, milliseconds. */
export const FLOW_TIME = {
  /** After a SYN went out twice, this long without an answer means that the path takes no SYN with data. */
  answer: 800,
  /** A client flow whose application sends no SYN any more is over. */
  abandoned: 8_000,
  /** A handshake that is not through by then is refused. */
  handshake: 5_000,
  /** A server whose Proof does not come says its SYN-ACK again this often: its kernel may not do so (SYN cookies). */
  repeat: 1_000,
  /** A client whose server is not heard after its Proof gives up after this long. */
  idle: 600_000,
} as const;
