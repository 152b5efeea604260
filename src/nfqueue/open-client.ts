import type { Clock } from '../handshake/outcome.ts';
import { clientContext } from '../proxy/outbound.ts';
import type { ProvenPeer } from '../proxy/peer.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { endOf, ownEnd } from '../proxy/view.ts';
import { chooseCarrier } from './carrier-choice.ts';
import type { FallbackMemory } from './fallback-memory.ts';
import type { FirstCalls } from './first-calls.ts';
import { openClientFlow } from './flow-client.ts';
import { endpointsOf } from './flow-endpoints.ts';
import type { FlowEffect } from './flow-step.ts';
import { passForCalls } from './give-pass.ts';
import type { HelloKeys } from './hello-keys.ts';
import { answererJudge } from './judge-answerer.ts';
import { readSynOptions, roomOf } from './packets-options.ts';
import { type TcpPacket, tupleOf } from './packets.ts';
import { QueuedFlow, type RefusedOpening } from './queued-flow.ts';

/** What becomes of a SYN that this pod's application sends. */
export type OpenedClient =
  | { readonly kind: 'stream'; readonly address: string; readonly problem?: string }
  /** TCP repeats it. */
  | { readonly kind: 'drop' }
  | RefusedOpening
  | {
      readonly kind: 'opened';
      readonly one: QueuedFlow;
      readonly effects: readonly FlowEffect<ProvenPeer>[];
    };

/** What calls leave behind for later ones to the same address. */
export interface CallMemory {
  readonly fallback: FallbackMemory;
  readonly helloKeys: HelloKeys;
  readonly firstCalls: FirstCalls;
}

/** Begins a flow with the first SYN of a connection of this pod. */
export function openClient(
  key: string,
  packet: TcpPacket,
  around: Surroundings,
  { fallback, helloKeys, firstCalls }: CallMemory,
  cut: (one: QueuedFlow) => void,
  now: Clock,
): OpenedClient {
  const tuple = tupleOf(packet);
  const { source, destination } = endpointsOf(tuple);
  const stream = { kind: 'stream', address: destination.address } as const;
  const view = around.view();
  // The listener says why: there is no policy yet, or the proxy drains, or there is no identity.
  if (view === undefined || around.draining()) return stream;
  const choice = chooseCarrier(view, destination);
  if (choice.kind === 'stream' || fallback.has(destination.address, now.monotonic)) return stream;
  const one = new QueuedFlow(
    key,
    tuple,
    around.sink,
    {
      direction: 'outbound',
      peer: 'unproven',
      handshake: 'none',
      source: ownEnd(view, source),
      destination: endOf(view, destination),
    },
    cut,
    now.monotonic,
  );
  if (choice.kind === 'refused') return { kind: 'refused', one, judgement: choice.judgement };
  const options = readSynOptions(packet);
  if (options === undefined) return stream;
  const handshake = clientContext(destination, around, 'syn');
  if (handshake === undefined) return stream;
  const { nonce } = handshake.randomness;
  const fitting = offersThatFit(handshake.credentials.token.length, tuple.family, roomOf(packet, options));
  const offers = handshake.offers.slice(0, fitting);
  if (offers.length === 0 && !firstCalls.admits(destination.address, now.monotonic)) return { kind: 'drop' };
  const randomness =
    offers.length === 0
      ? handshake.randomness
      : helloKeys.randomness(destination.address, nonce, now.monotonic);
  const context = {
    tuple,
    handshake: { ...handshake, toSelf: choice.toSelf, offers, randomness },
    judge: answererJudge(one, destination, around),
  };
  const opened = openClientFlow(packet, options, context, now);
  if ('noRoom' in opened) {
    // Told once: the next calls of this address do not come this far for a while.
    const isNews = fallback.add(destination.address, now.monotonic);
    return isNews ? { ...stream, problem: opened.noRoom } : stream;
  }
  const leaveFirst = offers.length === 0 ? firstCalls.enter(destination.address, now.monotonic) : undefined;
  one.leave = leaveFirst;
  if (choice.toSelf) {
    // The own server has to know its own Hello from a reflected one.
    const pending = Buffer.from(nonce).toString('hex');
    around.pendingHellos.add(pending);
    one.leave = () => {
      leaveFirst?.();
      around.pendingHellos.delete(pending);
    };
  }
  one.initial = packet.sequence;
  one.givePass = () => passForCalls(one, destination, fitting, around);
  one.machine = { role: 'client', state: opened.state, context };
  return { kind: 'opened', one, effects: opened.effects };
}

/** Bytes of a Hello beside token, address and offers: `docs/protocol.md` sections 2 and 3. */
const HELLO_FIXED = 12 + 1 + 1 + 32 + 32 + 3 + 1 + 2 + 1 + 16;
/** Session id, counter and binder. */
const OFFER = 16 + 8 + 16;

/** Sessions are a saving; those that do not fit the SYN stay at home. */
function offersThatFit(tokenLength: number, family: 4 | 6, room: number): number {
  const left = room - HELLO_FIXED - (family === 4 ? 4 : 16) - tokenLength;
  return Math.max(0, Math.floor(left / OFFER));
}
