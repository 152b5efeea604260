import { type ClientState, startClient, stepClient } from '../handshake/client.ts';
import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Clock, Failure } from '../handshake/outcome.ts';
import { frameBefore, wholeFrame } from './carrier-frames.ts';
import { synAck } from './flow-client-answer.ts';
import {
  type Answered,
  type ClientFlow,
  type ClientFlowContext,
  type ClientStep,
  dropped,
  failed,
  type Opened,
  over,
  passed,
  proofAlone,
} from './flow-client-state.ts';
import { FLOW_TIME, type FlowEffect, type FlowEvent } from './flow-step.ts';
import { buildReset, withPayload } from './packets-build.ts';
import { readSynOptions, roomOf, type SynOptions } from './packets-options.ts';
import {
  isOpening,
  isReset,
  isSynAck,
  payloadLength,
  payloadOf,
  read16,
  reversedTuple,
  sequenceAdd,
  sequenceDistance,
  TCP_FLAG,
  type TcpPacket,
} from './packets.ts';

/** Why a flow cannot use this carrier although the server speaks it. */
export interface NoRoom {
  readonly noRoom: string;
}

/**
 * The first SYN of a connection: it leaves with the Hello instead of whatever payload and Fast Open option the application gave it.
 * @param packet a SYN without ACK
 */
export function openClientFlow<I extends PeerIdentity>(
  packet: TcpPacket,
  options: SynOptions,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> | NoRoom {
  const room = roomOf(packet, options);
  const started = startClient(context.handshake);
  const { state: machine } = started;
  if (machine.at !== 'awaiting-reply') throw new Error('a client begins with its Hello');
  if (machine.hello.length > room) {
    return { noRoom: noRoomFor(machine.hello, room) };
  }
  const { hello } = machine;
  return {
    state: {
      at: 'syn-sent',
      initial: packet.sequence,
      room,
      announced: read16(packet.bytes, packet.tcpAt + 14),
      windowShift: options.windowShift,
      hello,
      machine,
      sentAt: now.monotonic,
      sent: 1,
    },
    effects: [{ kind: 'pass', bytes: withPayload(packet, [hello], packet.sequence, options) }],
  };
}

function noRoomFor(hello: Uint8Array, room: number): string {
  return `the Hello is ${hello.length} bytes long and a SYN here has room for ${room}`;
}

/** What a flow that this pod opened does about an event. */
export function stepClientFlow<I extends PeerIdentity>(
  state: ClientFlow<I>,
  event: FlowEvent,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  if (state.at === 'over') return { state, effects: event.kind === 'tick' ? [] : [{ kind: 'drop' }] };
  if (event.kind === 'tick') return tick(state, context, now);
  return event.kind === 'out'
    ? outgoing(state, event.packet, context, now)
    : incoming(state, event.packet, context, now);
}

function outgoing<I extends PeerIdentity>(
  state: Exclude<ClientFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  if (isOpening(packet)) {
    if (state.at !== 'syn-sent' || packet.sequence !== state.initial) return dropped(state);
    const options = readSynOptions(packet);
    if (options === undefined) return dropped(state);
    const room = roomOf(packet, options);
    // A router has told our kernel that the last one was too big for the path (RFC 1191). Nor will the next ones have more room.
    if (state.hello.length > room) {
      return over([{ kind: 'drop' }, { kind: 'fallback', detail: noRoomFor(state.hello, room) }]);
    }
    return {
      state: { ...state, sentAt: now.monotonic, sent: state.sent + 1 },
      effects: [{ kind: 'pass', bytes: withPayload(packet, [state.hello], packet.sequence, options) }],
    };
  }
  if (isReset(packet)) return passed(state);
  if (state.at === 'syn-sent') return dropped(state);
  if (state.at === 'open') return passed(state);
  const { acknowledged = headerOfAck(packet) } = state;
  const proving = acknowledged === undefined ? state : { ...state, acknowledged };
  return { state: proving, effects: withProof(proving, packet, context) };
}

/** A copy of an ACK's header: nothing in it may say more than that the SYN-ACK has come. */
function headerOfAck(packet: TcpPacket): TcpPacket | undefined {
  if ((packet.flags & ~TCP_FLAG.psh) !== TCP_FLAG.ack) return undefined;
  return { ...packet, bytes: packet.bytes.slice(0, packet.payloadAt) };
}

/** The Proof goes before the data where it fits, else in a packet of its own. */
function withProof<I extends PeerIdentity>(
  state: ClientFlow<I> & { at: 'proving' },
  packet: TcpPacket,
  context: ClientFlowContext<I>,
): FlowEffect<I>[] {
  const { proof, initial } = state;
  const streamStart = sequenceAdd(initial, 1);
  const fits = proof.length + payloadLength(packet) <= state.room;
  if (packet.sequence === streamStart && fits) {
    const sequence = sequenceAdd(streamStart, -proof.length);
    return [{ kind: 'pass', bytes: withPayload(packet, [proof, payloadOf(packet)], sequence) }];
  }
  return [{ kind: 'inject', bytes: proofAlone(state, proof, context) }, { kind: 'pass' }];
}

function incoming<I extends PeerIdentity>(
  state: Exclude<ClientFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  if (isSynAck(packet)) return synAck(state, packet, context, now);
  if (isOpening(packet)) {
    if (state.at !== 'syn-sent') return dropped(state);
    // Our own SYN may be lost, so that the other side would wait for nothing.
    const toPeer = { sequence: 0, acknowledgement: sequenceAdd(packet.sequence, 1) };
    return over([
      { kind: 'drop' },
      { kind: 'inject', bytes: resetToApplication(state, context) },
      { kind: 'inject', bytes: buildReset(context.tuple, toPeer) },
      { kind: 'failed', reason: 'handshake-aborted', detail: 'both sides opened the connection at once' },
    ]);
  }
  if (isReset(packet)) return reset(state, packet, context, now);
  if (state.at === 'syn-sent') return isChallenge(packet, state) ? passed(state) : dropped(state);
  const streamStart = sequenceAdd(state.serverInitial, 1);
  const frame = frameBefore(packet, streamStart);
  const stripped = (): FlowEffect<I> => {
    if (frame === undefined) return { kind: 'pass' };
    const data = payloadOf(packet).subarray(frame.length);
    // A Verdict alone is for nobody but us. A kernel whose connection has ended meanwhile would answer what is left of it, and with SYN cookies such
    // an answer may open a connection at the server anew.
    if (data.length === 0 && (packet.flags & ~TCP_FLAG.psh) === TCP_FLAG.ack) return { kind: 'drop' };
    return { kind: 'pass', bytes: withPayload(packet, [data], streamStart) };
  };
  if (state.at === 'open') return { state, effects: [stripped()] };
  if (frame === undefined) {
    // Only a server that has accepted our Proof lets its kernel speak: its Verdict was lost, the session is not resumed.
    if (!isPlausible(state, packet)) return dropped(state);
    return opened(state, state.machine, [{ kind: 'pass' }], peerOf(state.machine));
  }
  const next = stepClient(state.machine, { kind: 'frame', bytes: frame }, context.handshake, now);
  const failure = next.effects.find((effect) => effect.kind === 'failed');
  if (failure !== undefined) return refusedLate(state, packet, failure, context);
  const established = next.effects.find((effect) => effect.kind === 'established');
  if (established === undefined) return dropped(state);
  return opened(state, next.state, [stripped()], established.peer);
}

/** The Verdict does not hold: both sides are reset. */
function refusedLate<I extends PeerIdentity>(
  state: Answered<I>,
  packet: TcpPacket,
  failure: Failure<I>,
  context: ClientFlowContext<I>,
): ClientStep<I> {
  const local = buildReset(reversedTuple(context.tuple), { sequence: sequenceAdd(state.serverInitial, 1) });
  return over([
    { kind: 'pass', bytes: local },
    { kind: 'inject', bytes: buildReset(context.tuple, { sequence: packet.acknowledgement }) },
    failed(failure),
  ]);
}

/** A RST in the window ends the flow; what its Refusal says counts as far as its MAC goes. The kernel gets it without payload. */
function reset<I extends PeerIdentity>(
  state: Exclude<ClientFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  const pass: FlowEffect<I> = { kind: 'pass', bytes: withPayload(packet, []) };
  if (state.at === 'open') return { state, effects: [pass] };
  const expected = sequenceAdd(state.initial, 1);
  const answersSyn = (packet.flags & TCP_FLAG.ack) !== 0 && packet.acknowledgement === expected;
  const inWindow =
    state.at === 'syn-sent' ? answersSyn : packet.sequence === sequenceAdd(state.serverInitial, 1);
  if (!inWindow) return dropped(state);
  const frame = wholeFrame(packet);
  if (frame !== undefined) {
    const { effects } = stepClient(state.machine, { kind: 'frame', bytes: frame }, context.handshake, now);
    const failure = effects.find((effect) => effect.kind === 'failed');
    if (failure !== undefined) return over([pass, failed(failure)]);
  }
  const detail = 'reset without a reason: refused, or nobody listens there';
  return over([pass, { kind: 'failed', reason: 'refused-by-peer', detail }]);
}

function tick<I extends PeerIdentity>(
  state: Exclude<ClientFlow<I>, { at: 'over' }>,
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  if (state.at === 'open') return { state, effects: [] };
  if (state.at === 'proving') return repeatProof(state, context, now);
  const waited = now.monotonic - state.sentAt;
  if (state.sent > 1 && waited >= FLOW_TIME.answer) {
    return over([{ kind: 'fallback', detail: `no answer to ${state.sent} SYNs with a Hello` }]);
  }
  if (waited < FLOW_TIME.abandoned) return { state, effects: [] };
  return over([
    { kind: 'failed', reason: 'handshake-timeout', detail: 'no answer, and the application tries no more' },
  ]);
}

/**
 * An application that waits for the server to speak first sends nothing that could bear a lost Proof again, so it is repeated here for some
 * seconds. After that a server that is silent is given as long as any idle connection.
 */
function repeatProof<I extends PeerIdentity>(
  state: ClientFlow<I> & { at: 'proving' },
  context: ClientFlowContext<I>,
  now: Clock,
): ClientStep<I> {
  const waited = now.monotonic - state.since;
  if (waited >= FLOW_TIME.idle) {
    return over([
      { kind: 'failed', reason: 'handshake-timeout', detail: 'the server was never heard again' },
    ]);
  }
  if (waited > FLOW_TIME.handshake || waited < state.repeats * FLOW_TIME.repeat)
    return { state, effects: [] };
  return {
    state: { ...state, repeats: state.repeats + 1 },
    effects: [{ kind: 'inject', bytes: proofAlone(state, state.proof, context) }],
  };
}

/**
 * The ACK of a server that still has an older connection on these ports, because its end was lost (RFC 5961 section 4.2): our kernel answers it with
 * the RST that ends that one (RFC 9293 section 3.5.1), and repeats its SYN. It says nothing that our kernel would take for an answer to its SYN.
 */
function isChallenge(packet: TcpPacket, { initial }: Opened): boolean {
  const isBareAck = packet.flags === TCP_FLAG.ack && payloadLength(packet) === 0;
  return isBareAck && packet.acknowledgement !== sequenceAdd(initial, 1);
}

/** A packet without SYN or frame counts as the server's when it acknowledges what was sent and lies near the stream's beginning. */
function isPlausible<I extends PeerIdentity>(state: Answered<I>, packet: TcpPacket): boolean {
  if ((packet.flags & TCP_FLAG.ack) === 0) return false;
  const acknowledged = sequenceDistance(sequenceAdd(state.initial, 1), packet.acknowledgement);
  const offset = sequenceDistance(sequenceAdd(state.serverInitial, 1), packet.sequence);
  return acknowledged >= 0 && offset >= 0;
}

function opened<I extends PeerIdentity>(
  state: ClientFlow<I> & { at: 'proving' },
  machine: ClientState<I>,
  effects: readonly FlowEffect<I>[],
  peer: I,
): ClientStep<I> {
  return {
    state: { ...state, at: 'open', machine },
    effects: [{ kind: 'verified' }, ...effects, { kind: 'established', peer, handshake: 'full' }],
  };
}

function peerOf<I extends PeerIdentity>(machine: ClientState<I>): I {
  if (machine.at !== 'awaiting-verdict') throw new Error(`no peer while ${machine.at}`);
  return machine.peer;
}

function resetToApplication<I extends PeerIdentity>(
  state: Opened,
  context: ClientFlowContext<I>,
): Uint8Array {
  return buildReset(reversedTuple(context.tuple), {
    sequence: 0,
    acknowledgement: sequenceAdd(state.initial, 1),
  });
}
