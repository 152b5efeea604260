import type { Endpoint } from '../lib/address.ts';
import type { DenyReason } from '../observe/reasons.ts';
import type { OwnCredentials, PeerIdentity, TokenRefusal, VerifyToken } from './credentials.ts';
import type { Randomness } from './ephemeral.ts';
import {
  type Carrier,
  type Hello,
  MAC_BYTES,
  type Proof,
  type Refusal,
  SIGNATURE_BYTES,
  type Wishes,
} from './frame-types.ts';
import { decodeFrame, encodeFrame, helloAdmissionInput, helloBinderInput, withoutTail } from './frames.ts';
import { CONTEXT, deriveKeys, type HandshakeKeys, mac, macEquals, transcriptHash } from './key-schedule.ts';
import type { Clock, Effect, HandshakeEvent, Step } from './outcome.ts';
import { refusalCode } from './refusals.ts';
import type { RecentNonces } from './recent-nonces.ts';
import { type ServerSessions, type Session, sessionOf } from './sessions.ts';
import { signTranscript, verifyTranscript } from './signature.ts';

/** What does not change in the course of one server handshake. */
export interface ServerContext<I extends PeerIdentity> {
  readonly credentials: OwnCredentials;
  /** Keys under which a Hello may be admitted: a filter before anything dear, no proof of anything. */
  readonly admissionKeys: readonly Uint8Array[];
  /** A Hello, this very object, whose admission MAC was found right under one of these keys a moment ago. */
  readonly admitted?: Uint8Array;
  readonly randomness: Randomness;
  readonly carrier: Carrier;
  readonly wishes: Wishes;
  readonly verify: VerifyToken<I>;
  /** The exact reason for a Hello that no admission key covers; may cost something, and so may be coarse under load. */
  readonly explainUnadmitted: (token: Uint8Array) => TokenRefusal;
  /** Whether the destination that a client meant is this pod. */
  readonly ownsDestination: (destination: Endpoint) => boolean;
  /** Whether this process itself has just sent a Hello with this nonce: a pod's call to itself. */
  readonly isOwnHello: (nonce: Uint8Array) => boolean;
  readonly sessions: Pick<ServerSessions<I>, 'find' | 'add'>;
  readonly recentNonces: RecentNonces;
}

export type ServerState<I extends PeerIdentity> =
  | { readonly at: 'awaiting-hello' }
  | { readonly at: 'judging-resumed'; readonly hello: Uint8Array; readonly session: Session<I> }
  | (Keyed<I> & { readonly at: 'awaiting-proof' })
  | (Keyed<I> & { readonly at: 'judging-full'; readonly proof: Uint8Array })
  | { readonly at: 'done' };

interface Keyed<I extends PeerIdentity> {
  readonly hello: Uint8Array;
  readonly nonce: Uint8Array;
  readonly reply: Uint8Array;
  readonly keys: HandshakeKeys;
  readonly peer: I;
  readonly peerToken: Uint8Array;
}

type ServerStep<I extends PeerIdentity> = Step<ServerState<I>, I>;

/** The server's half of handshake v1 (`docs/protocol.md` section 4), before its first message. */
export function startServer<I extends PeerIdentity>(): ServerState<I> {
  return { at: 'awaiting-hello' };
}

/** What the server does about an event. A machine that is done stays so, whatever comes. */
export function stepServer<I extends PeerIdentity>(
  state: ServerState<I>,
  event: HandshakeEvent,
  context: ServerContext<I>,
  clock: Clock,
): ServerStep<I> {
  if (state.at === 'done') return { state, effects: [] };
  if (event.kind === 'judged') return judged(state, event, context, clock);
  const frame = decodeFrame(event.bytes);
  if (frame.type === 'error') return refuse(frame.reason, frame.detail);
  if (state.at === 'awaiting-hello' && frame.type === 'hello')
    return hello(frame, event.bytes, context, clock);
  if (state.at === 'awaiting-proof' && frame.type === 'proof') return proof(state, frame, event.bytes);
  if (state.at === 'awaiting-proof' && frame.type === 'refusal') return refused(state, frame, event.bytes);
  return refuse('frame-malformed', `${frame.type} while ${state.at}`);
}

/** Cheap before dear: admission, destination, sessions, and only then the token's signature and a key agreement. */
function hello<I extends PeerIdentity>(
  frame: Hello,
  bytes: Uint8Array,
  context: ServerContext<I>,
  clock: Clock,
): ServerStep<I> {
  if (frame.carrier !== context.carrier || frame.cookie.length > 0) {
    return refuse('frame-malformed', 'a Hello made for another carrier');
  }
  if (context.admitted !== bytes && !isAdmitted(frame, bytes, context.admissionKeys)) {
    const { reason, detail } = context.explainUnadmitted(frame.token);
    return refuse(reason, detail);
  }
  if (frame.wishes.encryption === 'required') {
    return refuse('encryption-unavailable', 'the client requires encryption');
  }
  if (!context.ownsDestination(frame.destination)) {
    return refuse(
      'wrong-destination',
      `the client meant ${frame.destination.address} port ${frame.destination.port}`,
    );
  }
  const offered = resumable(frame, bytes, context, clock);
  if (offered.kind === 'refuse') return refuse(offered.reason, offered.detail);
  const verified = context.verify(frame.token);
  if ('refusal' in verified) return refuse(verified.refusal.reason, verified.refusal.detail);
  if (offered.kind === 'resume') {
    const { session } = offered;
    return {
      state: { at: 'judging-resumed', hello: bytes, session },
      effects: [{ kind: 'judge', peer: session.peer, handshake: 'resumed' }],
    };
  }
  return fullReply(frame, bytes, verified.identity, context);
}

/** Whether a Hello's admission MAC is right under one of the keys. */
export function isAdmitted(frame: Hello, bytes: Uint8Array, keys: readonly Uint8Array[]): boolean {
  const input = helloAdmissionInput(bytes);
  return keys.some((key) => macEquals(mac(key, CONTEXT.admission, [input]), frame.admission));
}

type Resumable<I extends PeerIdentity> =
  | { readonly kind: 'resume'; readonly session: Session<I> }
  | { readonly kind: 'none' }
  | { readonly kind: 'refuse'; readonly reason: DenyReason; readonly detail: string };

/** The first offer that this process knows decides. What it does not know is no failure: the same Hello is a full one besides. */
function resumable<I extends PeerIdentity>(
  frame: Hello,
  bytes: Uint8Array,
  context: ServerContext<I>,
  clock: Clock,
): Resumable<I> {
  const bound = helloBinderInput(bytes, frame.offers.length);
  for (const [index, offer] of frame.offers.entries()) {
    const found = context.sessions.find(offer.sessionId, clock.monotonic);
    if (found === undefined) continue;
    const { session, window } = found;
    if (!macEquals(mac(session.clientKey, CONTEXT.binder, [bound]), frame.binders[index]!)) {
      return { kind: 'refuse', reason: 'proof-invalid', detail: 'binder of an offered session' };
    }
    // A renewed token means new claims: those are proven in full before they count.
    if (Buffer.compare(session.peerToken, frame.token) !== 0) continue;
    const counter = window.use(offer.counter);
    if (counter === 'seen') {
      return { kind: 'refuse', reason: 'replay', detail: `counter ${offer.counter} of a session came again` };
    }
    if (counter === 'fresh') return { kind: 'resume', session };
  }
  return { kind: 'none' };
}

function fullReply<I extends PeerIdentity>(
  frame: Hello,
  bytes: Uint8Array,
  peer: I,
  context: ServerContext<I>,
): ServerStep<I> {
  if (context.recentNonces.has(frame.nonce)) return refuse('replay', 'the nonce of a completed handshake');
  if (peer.podUid === context.credentials.podUid && !context.isOwnHello(frame.nonce)) {
    return refuse('own-identity', 'the client presented our own token');
  }
  const reply = encodeFrame({
    type: 'reply',
    mode: 'full',
    wishes: context.wishes,
    nonce: context.randomness.nonce,
    ephemeral: context.randomness.publicKey,
    token: context.credentials.token,
    signature: new Uint8Array(SIGNATURE_BYTES),
  });
  const signed = transcriptHash([bytes, withoutTail(reply, SIGNATURE_BYTES)]);
  const keys = deriveKeys(context.randomness.privateKey, frame.ephemeral, signed);
  if (keys === undefined) return refuse('proof-invalid', "the client's ephemeral key is of small order");
  const signature = signTranscript(context.credentials.privateKey, CONTEXT.serverProof, signed);
  reply.set(signature, reply.length - SIGNATURE_BYTES);
  return {
    state: {
      at: 'awaiting-proof',
      hello: bytes,
      nonce: frame.nonce,
      reply,
      keys,
      peer,
      peerToken: frame.token,
    },
    effects: [{ kind: 'send', bytes: reply }],
  };
}

function proof<I extends PeerIdentity>(
  state: ServerState<I> & { at: 'awaiting-proof' },
  frame: Proof,
  bytes: Uint8Array,
): ServerStep<I> {
  const transcript = [state.hello, state.reply];
  const expected = mac(state.keys.clientMac, CONTEXT.proofMac, [
    ...transcript,
    withoutTail(bytes, MAC_BYTES),
  ]);
  if (!macEquals(expected, frame.mac)) return refuse('proof-invalid', 'MAC of the proof');
  const signed = transcriptHash(transcript);
  if (!verifyTranscript(state.peer.publicKey, CONTEXT.clientProof, signed, frame.signature)) {
    return refuse('proof-invalid', "the client's signature");
  }
  return {
    state: { ...state, at: 'judging-full', proof: bytes },
    effects: [{ kind: 'judge', peer: state.peer, handshake: 'full' }],
  };
}

/** A client that refuses this server says so under the keys; without a valid MAC somebody else said it. */
function refused<I extends PeerIdentity>(
  state: ServerState<I> & { at: 'awaiting-proof' },
  frame: Refusal,
  bytes: Uint8Array,
): ServerStep<I> {
  const bound = [state.hello, state.reply, withoutTail(bytes, frame.mac.length)];
  const authentic = macEquals(mac(state.keys.clientMac, CONTEXT.clientRefusal, bound), frame.mac);
  return done([
    {
      kind: 'failed',
      reason: 'refused-by-peer',
      detail: `${frame.code}${authentic ? '' : ' (not authenticated)'}`,
    },
  ]);
}

function judged<I extends PeerIdentity>(
  state: ServerState<I>,
  event: HandshakeEvent & { kind: 'judged' },
  context: ServerContext<I>,
  clock: Clock,
): ServerStep<I> {
  if (state.at === 'judging-resumed') return judgedResumed(state, event, context);
  if (state.at !== 'judging-full') throw new Error(`judged while ${state.at}`);
  context.recentNonces.add(state.nonce);
  const { peer, keys } = state;
  const transcript = [state.hello, state.reply, state.proof];
  if (!event.verdict.allow) {
    const { reason, detail } = event.verdict;
    return done([
      { kind: 'send', bytes: refusal(reason, keys.serverMac, transcript) },
      { kind: 'failed', reason, detail, peer },
    ]);
  }
  const session = sessionOf(keys, peer, state.peerToken, clock, context.credentials.expiresAt);
  const lifetime = Math.max(0, Math.floor((session.expiresAt - clock.monotonic) / 1000));
  if (lifetime > 0) context.sessions.add(session);
  const bytes = encodeFrame({ type: 'verdict', lifetime, mac: new Uint8Array(MAC_BYTES) });
  const bound = withoutTail(bytes, MAC_BYTES);
  bytes.set(mac(keys.serverMac, CONTEXT.verdict, [...transcript, bound]), bound.length);
  return done([
    { kind: 'send', bytes },
    { kind: 'forward' },
    { kind: 'established', peer, handshake: 'full', ...(lifetime > 0 ? { session } : {}) },
  ]);
}

function judgedResumed<I extends PeerIdentity>(
  state: ServerState<I> & { at: 'judging-resumed' },
  event: HandshakeEvent & { kind: 'judged' },
  context: ServerContext<I>,
): ServerStep<I> {
  const { session } = state;
  if (!event.verdict.allow) {
    const { reason, detail } = event.verdict;
    return done([
      { kind: 'send', bytes: refusal(reason, session.serverKey, [state.hello]) },
      { kind: 'failed', reason, detail, peer: session.peer },
    ]);
  }
  const bytes = encodeFrame({
    type: 'reply',
    mode: 'resumed',
    wishes: context.wishes,
    nonce: context.randomness.nonce,
    sessionId: session.id,
    mac: new Uint8Array(MAC_BYTES),
  });
  const bound = withoutTail(bytes, MAC_BYTES);
  bytes.set(mac(session.serverKey, CONTEXT.resumed, [state.hello, bound]), bound.length);
  return done([
    { kind: 'send', bytes },
    { kind: 'forward' },
    { kind: 'established', peer: session.peer, handshake: 'resumed', session },
  ]);
}

/** A refusal from the server: under a key where there is one, else a bare hint. */
export function refusal(
  reason: DenyReason,
  key: Uint8Array | undefined,
  transcript: readonly Uint8Array[],
): Uint8Array {
  const length = key === undefined ? 0 : MAC_BYTES;
  const bytes = encodeFrame({ type: 'refusal', code: refusalCode(reason), mac: new Uint8Array(length) });
  if (key === undefined) return bytes;
  const bound = withoutTail(bytes, MAC_BYTES);
  bytes.set(mac(key, CONTEXT.serverRefusal, [...transcript, bound]), bound.length);
  return bytes;
}

function refuse<I extends PeerIdentity>(reason: DenyReason, detail: string): ServerStep<I> {
  return done([
    { kind: 'send', bytes: refusal(reason, undefined, []) },
    { kind: 'failed', reason, detail },
  ]);
}

function done<I extends PeerIdentity>(effects: readonly Effect<I>[]): ServerStep<I> {
  return { state: { at: 'done' }, effects };
}
