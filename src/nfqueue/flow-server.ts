import type { PeerIdentity } from '../handshake/credentials.ts';
import type { Clock, Failure } from '../handshake/outcome.ts';
import { type ServerContext, type ServerState, startServer, stepServer } from '../handshake/server.ts';
import { frameBefore, wholeFrame } from './carrier-frames.ts';
import { FLOW_TIME, type FlowContext, type FlowEffect, type FlowEvent, type FlowStep } from './flow-step.ts';
import { buildPacket, buildReset, withPayload } from './packets-build.ts';
import { readSynOptions, roomOf, type SynOptions, windowAfter } from './packets-options.ts';
import {
  isOpening,
  isReset,
  isSynAck,
  payloadLength,
  payloadOf,
  read16,
  reversedTuple,
  sequenceAdd,
  TCP_FLAG,
  type TcpPacket,
} from './packets.ts';

/** What does not change in the life of a flow that somebody opened to this pod. */
export interface ServerFlowContext<I extends PeerIdentity> extends FlowContext<I> {
  readonly handshake: ServerContext<I>;
}

export type ServerFlow<I extends PeerIdentity> =
  /** The Hello was good; the kernel has the bare SYN, and its SYN-ACK will bear the Reply. */
  | (Greeted & {
      readonly at: 'greeted';
      readonly machine: ServerState<I>;
      readonly since: number;
      /** The own SYN-ACK with the Reply, once the kernel has made it. */
      readonly synAck: SentSynAck | undefined;
      readonly repeats: number;
    })
  /** Proven and allowed. `answered`: our own kernel has accepted it. */
  | (Greeted & { readonly at: 'open'; readonly answered: boolean })
  | { readonly at: 'over' };

interface Greeted {
  /** Sequence number of the client's SYN. */
  readonly clientInitial: number;
  readonly hello: Uint8Array;
  readonly reply: Uint8Array;
  /** What the client's SYN says about room, bytes of payload and options, and whether it shifts windows. */
  readonly maximumSegment: number;
  readonly windowShift: number | undefined;
}

interface SentSynAck {
  readonly initial: number;
  /** Our own window, as a packet without SYN says it. */
  readonly window: number;
  readonly bytes: Uint8Array;
}

type Step<I extends PeerIdentity> = FlowStep<ServerFlow<I>, I>;

/**
 * The first SYN of a connection that bears a Hello. The kernel sees it only when the Hello is good: without its payload, and without a
 * Fast Open option, so that no application gets data before the Proof.
 * @param packet a SYN without ACK
 */
export function openServerFlow<I extends PeerIdentity>(
  packet: TcpPacket,
  options: SynOptions,
  hello: Uint8Array,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  const heard = stepServer(startServer<I>(), { kind: 'frame', bytes: hello }, context.handshake, now);
  let { state: machine, effects } = heard;
  const asked = effects.find((effect) => effect.kind === 'judge');
  if (asked !== undefined) {
    const verdict = context.judge(asked.peer, asked.handshake);
    ({ state: machine, effects } = stepServer(machine, { kind: 'judged', verdict }, context.handshake, now));
  }
  const reply = effects.find((effect) => effect.kind === 'send')?.bytes;
  const failure = effects.find((effect) => effect.kind === 'failed');
  if (failure !== undefined || reply === undefined) {
    const numbers = { sequence: 0, acknowledgement: sequenceAdd(packet.sequence, 1) };
    return over([
      { kind: 'drop' },
      { kind: 'inject', bytes: buildReset(reversedTuple(context.tuple), numbers, reply) },
      failed(failure ?? { kind: 'failed', reason: 'frame-malformed', detail: 'no reply' }),
    ]);
  }
  const greeted = {
    clientInitial: packet.sequence,
    hello,
    reply,
    maximumSegment: options.maximumSegment,
    windowShift: options.windowShift,
  };
  const pass: FlowEffect<I> = { kind: 'pass', bytes: withPayload(packet, [], packet.sequence, options) };
  const established = effects.find((effect) => effect.kind === 'established');
  return {
    state:
      established === undefined
        ? { ...greeted, at: 'greeted', machine, since: now.monotonic, synAck: undefined, repeats: 1 }
        : { ...greeted, at: 'open', answered: false },
    effects: established === undefined ? [pass] : [pass, established],
  };
}

/** What a flow that somebody opened to this pod does about an event. */
export function stepServerFlow<I extends PeerIdentity>(
  state: ServerFlow<I>,
  event: FlowEvent,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  if (state.at === 'over') return { state, effects: event.kind === 'tick' ? [] : [{ kind: 'drop' }] };
  if (event.kind === 'tick') return tick(state, context, now);
  return event.kind === 'in'
    ? incoming(state, event.packet, context, now)
    : outgoing(state, event.packet, context);
}

function incoming<I extends PeerIdentity>(
  state: Exclude<ServerFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  if (isOpening(packet)) return openingAgain(state, packet);
  if (isSynAck(packet)) return dropped(state);
  const streamStart = sequenceAdd(state.clientInitial, 1);
  const frame = frameBefore(packet, streamStart);
  const stripped = (): FlowEffect<I> =>
    frame === undefined
      ? { kind: 'pass' }
      : { kind: 'pass', bytes: withPayload(packet, [payloadOf(packet).subarray(frame.length)], streamStart) };
  if (state.at === 'open') return { state, effects: [stripped()] };
  if (isReset(packet)) return reset(state, packet, context, now);
  if (frame === undefined) return dropped(state);
  if (state.synAck === undefined) return dropped(state);
  if (packet.acknowledgement !== sequenceAdd(state.synAck.initial, 1)) return dropped(state);
  return proof(state, state.synAck, packet, frame, stripped(), context, now);
}

/** A SYN again: with the very same Hello it gets the same answer, whatever else it says. */
function openingAgain<I extends PeerIdentity>(
  state: Exclude<ServerFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
): Step<I> {
  const options = readSynOptions(packet);
  const hello = wholeFrame(packet);
  const same = hello !== undefined && Buffer.compare(hello, state.hello) === 0;
  if (!same || options === undefined || packet.sequence !== state.clientInitial) return dropped(state);
  return { state, effects: [{ kind: 'pass', bytes: withPayload(packet, [], packet.sequence, options) }] };
}

function proof<I extends PeerIdentity>(
  state: ServerFlow<I> & { at: 'greeted' },
  synAck: SentSynAck,
  packet: TcpPacket,
  frame: Uint8Array,
  stripped: FlowEffect<I>,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  let next = stepServer(state.machine, { kind: 'frame', bytes: frame }, context.handshake, now);
  const asked = next.effects.find((effect) => effect.kind === 'judge');
  if (asked !== undefined) {
    const verdict = context.judge(asked.peer, asked.handshake);
    next = stepServer(next.state, { kind: 'judged', verdict }, context.handshake, now);
  }
  const sent = next.effects.find((effect) => effect.kind === 'send')?.bytes;
  const established = next.effects.find((effect) => effect.kind === 'established');
  const toClient = reversedTuple(context.tuple);
  if (established === undefined || sent === undefined) {
    const failure = next.effects.find((effect) => effect.kind === 'failed');
    // The packet itself becomes the RST for our own kernel, which has the connection half open.
    return over([
      { kind: 'pass', bytes: resetForOwnKernel(state, context) },
      { kind: 'inject', bytes: buildReset(toClient, { sequence: packet.acknowledgement }, sent) },
      failed(failure ?? { kind: 'failed', reason: 'frame-malformed', detail: 'no verdict' }),
    ]);
  }
  const verdict = buildPacket(toClient, {
    sequence: sequenceAdd(synAck.initial, 1 - sent.length),
    acknowledgement: sequenceAdd(state.clientInitial, 1),
    flags: TCP_FLAG.ack,
    window: synAck.window,
    payload: sent,
  });
  const { clientInitial, hello, reply, maximumSegment, windowShift } = state;
  return {
    state: { at: 'open', answered: true, clientInitial, hello, reply, maximumSegment, windowShift },
    // The packet before the mark: data behind it that are not queued any more must not be the first that a kernel with SYN cookies hears.
    effects: [{ kind: 'inject', bytes: verdict }, stripped, { kind: 'verified' }, established],
  };
}

function reset<I extends PeerIdentity>(
  state: ServerFlow<I> & { at: 'greeted' },
  packet: TcpPacket,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  if (packet.sequence !== sequenceAdd(state.clientInitial, 1)) return dropped(state);
  const pass: FlowEffect<I> = { kind: 'pass', bytes: withPayload(packet, []) };
  const frame = wholeFrame(packet);
  if (frame !== undefined) {
    const { effects } = stepServer(state.machine, { kind: 'frame', bytes: frame }, context.handshake, now);
    const failure = effects.find((effect) => effect.kind === 'failed');
    if (failure !== undefined) return over([pass, failed(failure)]);
  }
  return over([
    pass,
    { kind: 'failed', reason: 'handshake-aborted', detail: 'the client reset it before its Proof' },
  ]);
}

function outgoing<I extends PeerIdentity>(
  state: Exclude<ServerFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ServerFlowContext<I>,
): Step<I> {
  if (isSynAck(packet)) return answer(state, packet, context);
  if (isReset(packet) && (state.at === 'greeted' || !state.answered)) {
    return over([
      { kind: 'pass' },
      { kind: 'failed', reason: 'dial-failed', detail: 'the application does not accept' },
    ]);
  }
  return { state, effects: [{ kind: 'pass' }] };
}

/** The kernel accepts: its SYN-ACK takes the Reply along. With a resumed Reply everything is said then. */
function answer<I extends PeerIdentity>(
  state: Exclude<ServerFlow<I>, { at: 'over' }>,
  packet: TcpPacket,
  context: ServerFlowContext<I>,
): Step<I> {
  if (packet.acknowledgement !== sequenceAdd(state.clientInitial, 1)) return dropped(state);
  const options = readSynOptions(packet);
  if (options === undefined || payloadLength(packet) > 0) return dropped(state);
  const room = roomOf(packet, { ...options, maximumSegment: state.maximumSegment });
  if (state.reply.length > room) {
    const detail = `the Reply is ${state.reply.length} bytes long and the SYN-ACK has room for ${room}`;
    // An answer without a Reply makes the client turn to the stream carrier, where there is room. What comes instead finds no half-open connection.
    return over([
      { kind: 'pass' },
      { kind: 'inject', bytes: resetForOwnKernel(state, context) },
      { kind: 'failed', reason: 'identity-too-large', detail },
    ]);
  }
  const bytes = withPayload(packet, [state.reply], packet.sequence, options);
  const pass: FlowEffect<I> = { kind: 'pass', bytes };
  if (state.at === 'open') {
    return {
      state: state.answered ? state : { ...state, answered: true },
      effects: [{ kind: 'verified' }, pass],
    };
  }
  const { tcpAt } = packet;
  const window = windowAfter(read16(packet.bytes, tcpAt + 14), options, state);
  const synAck = { initial: packet.sequence, window, bytes };
  return { state: { ...state, synAck }, effects: [pass] };
}

/** The RST by which our own kernel forgets what it has half open. */
function resetForOwnKernel<I extends PeerIdentity>(
  state: Greeted,
  context: ServerFlowContext<I>,
): Uint8Array {
  return buildReset(context.tuple, { sequence: sequenceAdd(state.clientInitial, 1) });
}

function tick<I extends PeerIdentity>(
  state: Exclude<ServerFlow<I>, { at: 'over' }>,
  context: ServerFlowContext<I>,
  now: Clock,
): Step<I> {
  if (state.at === 'open') return { state, effects: [] };
  const waited = now.monotonic - state.since;
  const { synAck } = state;
  if (waited >= FLOW_TIME.handshake) {
    const toClient =
      synAck && buildReset(reversedTuple(context.tuple), { sequence: sequenceAdd(synAck.initial, 1) });
    return over([
      { kind: 'inject', bytes: resetForOwnKernel(state, context) },
      ...(toClient === undefined ? [] : [{ kind: 'inject' as const, bytes: toClient }]),
      { kind: 'failed', reason: 'handshake-timeout', detail: 'no Proof came' },
    ]);
  }
  if (synAck === undefined || waited < state.repeats * FLOW_TIME.repeat) return { state, effects: [] };
  return {
    state: { ...state, repeats: state.repeats + 1 },
    effects: [{ kind: 'inject', bytes: synAck.bytes }],
  };
}

function failed<I extends PeerIdentity>(failure: Failure<I>): FlowEffect<I> {
  const { reason, detail, peer } = failure;
  return { kind: 'failed', reason, detail, ...(peer === undefined ? {} : { peer }) };
}

function dropped<I extends PeerIdentity>(state: ServerFlow<I>): Step<I> {
  return { state, effects: [{ kind: 'drop' }] };
}

function over<I extends PeerIdentity>(effects: readonly FlowEffect<I>[]): Step<I> {
  return { state: { at: 'over' }, effects };
}
