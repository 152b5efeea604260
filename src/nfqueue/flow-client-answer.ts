import { stepClient } from '../handshake/client.ts';
import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Clock, Failure, HandshakeEvent } from '../handshake/outcome.ts';
import { wholeFrame } from './carrier-frames.ts';
import {
  type ClientFlow,
  type ClientFlowContext,
  type ClientStep,
  dropped,
  failed,
  over,
  proofAlone,
} from './flow-client-state.ts';
import type { FlowEffect } from './flow-step.ts';
import { buildReset, withPayload } from './packets-build.ts';
import { readSynOptions, roomOf, windowAfter } from './packets-options.ts';
import { reversedTuple, sequenceAdd, type TcpPacket } from './packets.ts';

/** A SYN-ACK for a connection that this pod opens: it bears the server's Reply, and decides whether our kernel hears that it was accepted. */
export function synAck<I extends PeerIdentity>(
  state: Exclude<ClientFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  if (packet.acknowledgement !== sequenceAdd(state.initial, 1)) return dropped(state);
  if (state.at !== 'syn-sent') {
    if (packet.sequence !== state.serverInitial) return dropped(state);
    const pass: FlowEffect<I> = { kind: 'pass', bytes: withPayload(packet, []) };
    // Our kernel answers it, and that answer bears the Proof; of a flow that is the kernel's it would not, so we say it ourselves.
    if (state.at === 'proving' || state.proof === undefined) return { state, effects: [pass] };
    return { state, effects: [{ kind: 'inject', bytes: proofAlone(state, state.proof, context) }, pass] };
  }
  const frame = wholeFrame(packet);
  if (frame === undefined) return withoutReply(packet, context);
  const options = readSynOptions(packet);
  if (options === undefined) return dropped(state);
  const event: HandshakeEvent = { kind: 'frame', bytes: frame };
  const answered = stepClient(state.machine, event, context.handshake, now);
  const asked = answered.effects.find((effect) => effect.kind === 'judge');
  if (asked === undefined) {
    const failure = answered.effects.find((effect) => effect.kind === 'failed');
    return refused(state, packet, failure ?? NO_ANSWER, undefined, context);
  }
  const verdict = context.judge(asked.peer, asked.handshake);
  const judged = stepClient(answered.state, { kind: 'judged', verdict }, context.handshake, now);
  const sent = judged.effects.find((effect) => effect.kind === 'send')?.bytes;
  const failure = judged.effects.find((effect) => effect.kind === 'failed');
  if (failure !== undefined) return refused(state, packet, failure, sent, context);
  const base = {
    initial: state.initial,
    announced: state.announced,
    windowShift: state.windowShift,
    room: Math.min(state.room, roomOf(packet, options)),
    serverInitial: packet.sequence,
    machine: judged.state,
    window: windowAfter(state.announced, state, options),
  };
  const pass: FlowEffect<I> = { kind: 'pass', bytes: withPayload(packet, []) };
  if (sent === undefined) {
    const established: FlowEffect<I> = { kind: 'established', peer: asked.peer, handshake: asked.handshake };
    return {
      state: { ...base, at: 'open', proof: undefined },
      effects: [{ kind: 'verified' }, pass, established],
    };
  }
  return {
    state: { ...base, at: 'proving', proof: sent, since: now.monotonic, repeats: 1 },
    effects: [pass],
  };
}

const NO_ANSWER = { kind: 'failed', reason: 'frame-malformed', detail: 'no reply' } as const;

/** A server that answers without a Reply, or a path that took it off: never taken for one that is not enrolled. */
function withoutReply<I extends PeerIdentity>(
  packet: TcpPacket,
  context: ClientFlowContext<I>,
): ClientStep<I> {
  return over([
    { kind: 'drop' },
    { kind: 'inject', bytes: buildReset(context.tuple, { sequence: packet.acknowledgement }) },
    { kind: 'fallback', detail: 'the SYN-ACK came without a Reply' },
  ]);
}

/** The server is refused: it gets a RST with our Refusal, and the SYN-ACK becomes a RST for our own kernel. */
function refused<I extends PeerIdentity>(
  state: ClientFlow<I> & { at: 'syn-sent' },
  packet: TcpPacket,
  failure: Failure<I>,
  refusal: Uint8Array | undefined,
  context: ClientFlowContext<I>,
): ClientStep<I> {
  const local = buildReset(reversedTuple(context.tuple), {
    sequence: packet.sequence,
    acknowledgement: sequenceAdd(state.initial, 1),
  });
  return over([
    { kind: 'pass', bytes: local },
    { kind: 'inject', bytes: buildReset(context.tuple, { sequence: packet.acknowledgement }, refusal) },
    failed(failure),
  ]);
}
