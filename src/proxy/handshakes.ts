import { type ClientContext, type ClientState, startClient, stepClient } from '../handshake/client.ts';
import { MAX_FRAME_BYTES } from '../handshake/frame-types.ts';
import type { Clock, Denied, Effect, HandshakeEvent, HandshakeKind, Step } from '../handshake/outcome.ts';
import { type ServerContext, startServer, stepServer } from '../handshake/server.ts';
import type { DenyReason } from '../observe/reasons.ts';
import type { ProvenPeer } from './peer.ts';
import type { Endpoint } from '../lib/address.ts';
import type { Closed, Side } from '../relay/data-path.ts';
import type { Connection, ConnectionEvent } from './connection.ts';
import { eventReason } from './refusing.ts';

/**
 * How a handshake ended. `unanswered`: the server answered with something that is no preamble. `hung-up`: it closed without an answer, as a
 * sidecar does that starts, drains or has no place.
 */
export type HandshakeResult =
  | (Effect<ProvenPeer> & { readonly kind: 'established' })
  | {
      readonly kind: 'failed';
      readonly reason: DenyReason;
      readonly detail: string;
      readonly peer?: ProvenPeer;
    }
  | { readonly kind: 'unanswered'; readonly detail: string }
  | { readonly kind: 'hung-up'; readonly detail: string }
  | { readonly kind: 'closed'; readonly closed: Closed };

/** The answer about a proven peer. May take a moment: the server dials its application before it says yes. */
export type JudgePeer = (
  peer: ProvenPeer,
  handshake: HandshakeKind,
) => Promise<{ readonly allow: true } | Denied>;

/** Carries the server's machine over the client side of a connection, from the first frame to its end or the deadline. */
export async function serverHandshake(
  connection: Connection,
  hello: Uint8Array,
  context: ServerContext<ProvenPeer>,
  judge: JudgePeer,
  deadlineMs: number,
): Promise<HandshakeResult> {
  const until = performance.now() + deadlineMs;
  let state = startServer<ProvenPeer>();
  let event: HandshakeEvent = { kind: 'frame', bytes: hello };
  for (;;) {
    const next = stepServer(state, event, context, clock());
    state = next.state;
    const outcome = perform(connection, 'client', next.effects);
    if (outcome.kind === 'judge')
      event = { kind: 'judged', verdict: await judge(outcome.peer, outcome.handshake) };
    else if (outcome.kind !== 'waiting') return outcome;
    else {
      connection.readFrame('client', MAX_FRAME_BYTES);
      const happened = await connection.next(until - performance.now());
      if (happened.kind !== 'frame') return broken(happened, 'client');
      event = { kind: 'frame', bytes: happened.frame };
    }
  }
}

/**
 * Dials `target`, by `dial`, and carries the client's machine over the upstream side. When it returns `established` the relay runs already. A full
 * handshake starts it with the Proof and reads the Verdict beside it, so that the client's bytes lose no round trip.
 * @param begun a Hello that the upstream side has got and answered already
 */
export async function clientHandshake(
  connection: Connection,
  target: Endpoint,
  dial: (hello: Uint8Array) => Promise<ConnectionEvent>,
  context: ClientContext<ProvenPeer>,
  judge: JudgePeer,
  deadlineMs: number,
  begun?: { readonly hello: Uint8Array; readonly reply: Uint8Array },
): Promise<HandshakeResult> {
  if (begun !== undefined) {
    const first: ConnectionEvent = { kind: 'frame', side: 'upstream', frame: begun.reply };
    return await answered(connection, begun.hello, first, context, judge, performance.now() + deadlineMs);
  }
  const started = startClient(context);
  const hello = started.effects.find((effect) => effect.kind === 'send');
  if (hello?.kind !== 'send') throw new Error('a client starts with a Hello');
  const dialled = await dial(hello.bytes);
  if (dialled.kind !== 'dialled') return broken(dialled, 'upstream');
  if (dialled.error !== undefined) return dialFailed(target, dialled.error);

  const until = performance.now() + deadlineMs;
  connection.readFrame('upstream', MAX_FRAME_BYTES);
  const first = await connection.next(until - performance.now());
  return await answered(connection, hello.bytes, first, context, judge, until);
}

/** From what came after the Hello to the end of the client's handshake. */
async function answered(
  connection: Connection,
  hello: Uint8Array,
  first: ConnectionEvent,
  context: ClientContext<ProvenPeer>,
  judge: JudgePeer,
  until: number,
): Promise<HandshakeResult> {
  let state: ClientState<ProvenPeer> = { at: 'awaiting-reply', hello };
  let happened = first;
  for (;;) {
    if (happened.kind !== 'frame') {
      const result = broken(happened, 'upstream');
      // Once application bytes are on their way nobody may dial again for them.
      return isWithoutAnswer(result) && state.at === 'awaiting-verdict'
        ? { kind: 'failed', reason: 'handshake-aborted', detail: `instead of a verdict ${result.detail}` }
        : result;
    }
    let event: HandshakeEvent = { kind: 'frame', bytes: happened.frame };
    for (;;) {
      const next: Step<ClientState<ProvenPeer>, ProvenPeer> = stepClient(state, event, context, clock());
      state = next.state;
      const outcome = perform(connection, 'upstream', next.effects);
      if (outcome.kind === 'judge')
        event = { kind: 'judged', verdict: await judge(outcome.peer, outcome.handshake) };
      else if (outcome.kind !== 'waiting') return outcome;
      else break;
    }
    happened = await connection.next(until - performance.now());
  }
}

/** Does what a machine asks for, up to what takes an answer. */
function perform(
  connection: Connection,
  side: Side,
  effects: readonly Effect<ProvenPeer>[],
): HandshakeResult | { kind: 'waiting' } | (Effect<ProvenPeer> & { kind: 'judge' }) {
  for (let index = 0; index < effects.length; index++) {
    const effect = effects[index]!;
    switch (effect.kind) {
      case 'send':
        connection.send(side, effect.bytes);
        break;
      case 'forward':
        if (side === 'upstream') {
          const last = effects[index + 1]?.kind === 'established';
          connection.relay(last ? { guard: false } : { guard: false, verdictFrame: MAX_FRAME_BYTES });
        }
        break;
      case 'judge':
        return effect;
      case 'established':
        if (side === 'client') connection.relay({ guard: false });
        else if (effect.handshake === 'full') connection.release();
        return effect;
      case 'failed':
        return effect;
    }
  }
  return { kind: 'waiting' };
}

/** Whether the server said nothing that has to do with a handshake, so that it may be dialled again. */
export function isWithoutAnswer(
  result: HandshakeResult,
): result is HandshakeResult & { kind: 'unanswered' | 'hung-up' } {
  return result.kind === 'unanswered' || result.kind === 'hung-up';
}

/** Anything but a frame where a frame was due. */
function broken(happened: ConnectionEvent, side: Side): HandshakeResult {
  if (happened.kind === 'closed') return happened;
  if (happened.kind === 'notFrame' && side === 'upstream') {
    return happened.endOfFile
      ? { kind: 'hung-up', detail: 'it closed' }
      : { kind: 'unanswered', detail: 'it answered with something else' };
  }
  return { kind: 'failed', ...eventReason(happened) };
}

function dialFailed(target: Endpoint, error: string): HandshakeResult & { kind: 'failed' } {
  return { kind: 'failed', reason: 'dial-failed', detail: `${target.address} port ${target.port}: ${error}` };
}

function clock(): Clock {
  return { monotonic: performance.now(), epochSeconds: Date.now() / 1000 };
}
