import type { ClientContext, ClientState } from '../handshake/client.ts';
import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Failure } from '../handshake/outcome.ts';
import type { FlowContext, FlowEffect, FlowStep } from './flow-step.ts';
import { buildPacket, withPayload } from './packets-build.ts';
import { sequenceAdd, TCP_FLAG, type TcpPacket } from './packets.ts';

/** What does not change in the life of a flow that this pod opened. */
export interface ClientFlowContext<I extends PeerIdentity> extends FlowContext<I> {
  readonly handshake: ClientContext<I>;
}

export type ClientFlow<I extends PeerIdentity> =
  | (Opened & {
      readonly at: 'syn-sent';
      readonly hello: Uint8Array;
      readonly machine: ClientState<I>;
      /** When the SYN went out last, and how often. Monotonic milliseconds. */
      readonly sentAt: number;
      readonly sent: number;
    })
  /** The server has proven itself and waits for our Proof: it goes with every packet until the server is heard. */
  | (Answered<I> & {
      readonly at: 'proving';
      readonly proof: Uint8Array;
      readonly since: number;
      readonly repeats: number;
    })
  | (Answered<I> & { readonly at: 'open'; readonly proof: Uint8Array | undefined })
  | { readonly at: 'over' };

/** What is known of a connection from its first SYN on. */
export interface Opened {
  /** Sequence number of the own SYN. */
  readonly initial: number;
  /** Payload that fits a packet of ours with the SYN's options, bytes. */
  readonly room: number;
  /** What the own SYN says about our window. */
  readonly announced: number;
  readonly windowShift: number | undefined;
}

/** What is known once the server has answered. */
export interface Answered<I extends PeerIdentity> extends Opened {
  /** Sequence number of the server's SYN. */
  readonly serverInitial: number;
  readonly machine: ClientState<I>;
  /** Our own window, as a packet without SYN says it. */
  readonly window: number;
  /** Header of the first ACK of our own kernel: what it says of windows and timestamps nobody says better. */
  readonly acknowledged?: TcpPacket;
}

/** A client flow's answer to an event. */
export type ClientStep<I extends PeerIdentity> = FlowStep<ClientFlow<I>, I>;

/** The Proof in a packet of its own. */
export function proofAlone<I extends PeerIdentity>(
  state: Answered<I>,
  proof: Uint8Array,
  context: ClientFlowContext<I>,
): Uint8Array {
  const sequence = sequenceAdd(state.initial, 1 - proof.length);
  if (state.acknowledged !== undefined) return withPayload(state.acknowledged, [proof], sequence);
  return buildPacket(context.tuple, {
    sequence,
    acknowledgement: sequenceAdd(state.serverInitial, 1),
    flags: TCP_FLAG.ack,
    window: state.window,
    payload: proof,
  });
}

/** A failure of the handshake, as the driver is told it. */
export function failed<I extends PeerIdentity>(failure: Failure<I>): FlowEffect<I> {
  const { reason, detail, peer } = failure;
  return { kind: 'failed', reason, detail, ...(peer === undefined ? {} : { peer }) };
}

/** The packet goes on as it is. */
export function passed<I extends PeerIdentity>(state: ClientFlow<I>): ClientStep<I> {
  return { state, effects: [{ kind: 'pass' }] };
}

/** The packet is dropped, and nothing else changes. */
export function dropped<I extends PeerIdentity>(state: ClientFlow<I>): ClientStep<I> {
  return { state, effects: [{ kind: 'drop' }] };
}

/** The flow ends with these effects. */
export function over<I extends PeerIdentity>(effects: readonly FlowEffect<I>[]): ClientStep<I> {
  return { state: { at: 'over' }, effects };
}
