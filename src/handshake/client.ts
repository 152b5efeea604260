import type { Endpoint } from '../lib/address.ts';
import type { OwnCredentials, PeerIdentity, VerifyToken } from './credentials.ts';
import type { Randomness } from './ephemeral.ts';
import {
  type Carrier,
  type FullReply,
  MAC_BYTES,
  type Refusal,
  type ResumedReply,
  SIGNATURE_BYTES,
  type Verdict,
  type Wishes,
} from './frame-types.ts';
import { decodeFrame, encodeFrame, withoutTail } from './frames.ts';
import { buildHello } from './hello.ts';
import { CONTEXT, deriveKeys, type HandshakeKeys, mac, macEquals, transcriptHash } from './key-schedule.ts';
import type { Clock, Effect, HandshakeEvent, Step } from './outcome.ts';
import { refusalCode } from './refusals.ts';
import type { DenyReason } from '../observe/reasons.ts';
import { type Session, sessionOf } from './sessions.ts';
import { signTranscript, verifyTranscript } from './signature.ts';

/** What does not change in the course of one client handshake. */
export interface ClientContext<I extends PeerIdentity> {
  readonly credentials: OwnCredentials;
  readonly admissionKey: Uint8Array;
  readonly randomness: Randomness;
  readonly carrier: Carrier;
  readonly wishes: Wishes;
  readonly destination: Endpoint;
  /** The destination is this very pod: its own identity may answer. */
  readonly toSelf: boolean;
  /** Sessions to offer, each with a counter that was never offered before. */
  readonly offers: readonly { readonly session: Session<I>; readonly counter: bigint }[];
  readonly verify: VerifyToken<I>;
  /** Keeps the session of a full handshake for later connections. */
  readonly remember: (session: Session<I>) => void;
}

export type ClientState<I extends PeerIdentity> =
  | { readonly at: 'awaiting-reply'; readonly hello: Uint8Array }
  | { readonly at: 'judging-resumed'; readonly peer: I }
  | (Keyed<I> & { readonly at: 'judging-full' })
  | (Keyed<I> & { readonly at: 'awaiting-verdict'; readonly proof: Uint8Array })
  | { readonly at: 'done' };

interface Keyed<I extends PeerIdentity> {
  readonly hello: Uint8Array;
  readonly reply: Uint8Array;
  readonly keys: HandshakeKeys;
  readonly peer: I;
  readonly peerToken: Uint8Array;
}

type ClientStep<I extends PeerIdentity> = Step<ClientState<I>, I>;

/** The client's half of handshake v1 (`docs/protocol.md` section 4): its first message. */
export function startClient<I extends PeerIdentity>(context: ClientContext<I>): ClientStep<I> {
  const hello = buildHello({
    wishes: context.wishes,
    carrier: context.carrier,
    nonce: context.randomness.nonce,
    ephemeral: context.randomness.publicKey,
    destination: context.destination,
    cookie: new Uint8Array(0),
    token: context.credentials.token,
    offers: context.offers,
    admissionKey: context.admissionKey,
  });
  return { state: { at: 'awaiting-reply', hello }, effects: [{ kind: 'send', bytes: hello }] };
}

/** What the client does about an event. A machine that is done stays so, whatever comes. */
export function stepClient<I extends PeerIdentity>(
  state: ClientState<I>,
  event: HandshakeEvent,
  context: ClientContext<I>,
  clock: Clock,
): ClientStep<I> {
  if (state.at === 'done') return { state, effects: [] };
  if (event.kind === 'judged') return judged(state, event, context);
  const frame = decodeFrame(event.bytes);
  if (frame.type === 'error') return fail(frame.reason, frame.detail);
  if (frame.type === 'refusal') return refused(state, frame, event.bytes, context);
  if (state.at === 'awaiting-reply' && frame.type === 'reply') {
    if (frame.wishes.encryption === 'required') {
      return fail('encryption-unavailable', 'the server requires encryption');
    }
    return frame.mode === 'full'
      ? fullReply(state.hello, frame, event.bytes, context)
      : resumedReply(state.hello, frame, event.bytes, context, clock);
  }
  if (state.at === 'awaiting-verdict' && frame.type === 'verdict') {
    return verdict(state, frame, event.bytes, context, clock);
  }
  return fail('frame-malformed', `${frame.type} while ${state.at}`);
}

function resumedReply<I extends PeerIdentity>(
  hello: Uint8Array,
  frame: ResumedReply,
  bytes: Uint8Array,
  context: ClientContext<I>,
  clock: Clock,
): ClientStep<I> {
  const offer = context.offers.find(({ session }) => Buffer.compare(session.id, frame.sessionId) === 0);
  if (offer === undefined) return fail('proof-invalid', 'a session that was not offered');
  const { session } = offer;
  const expected = mac(session.serverKey, CONTEXT.resumed, [hello, withoutTail(bytes, MAC_BYTES)]);
  if (!macEquals(expected, frame.mac)) return fail('proof-invalid', 'MAC of the resumed reply');
  if (session.expiresAt <= clock.monotonic) return fail('token-expired', 'the session ended meanwhile');
  return {
    state: { at: 'judging-resumed', peer: session.peer },
    effects: [{ kind: 'judge', peer: session.peer, handshake: 'resumed' }],
  };
}

function fullReply<I extends PeerIdentity>(
  hello: Uint8Array,
  frame: FullReply,
  bytes: Uint8Array,
  context: ClientContext<I>,
): ClientStep<I> {
  const verified = context.verify(frame.token);
  if ('refusal' in verified) return fail(verified.refusal.reason, verified.refusal.detail);
  const peer = verified.identity;
  if (peer.podUid === context.credentials.podUid && !context.toSelf) {
    return fail('own-identity', 'the server presented our own token');
  }
  const signed = transcriptHash([hello, withoutTail(bytes, SIGNATURE_BYTES)]);
  if (!verifyTranscript(peer.publicKey, CONTEXT.serverProof, signed, frame.signature)) {
    return fail('proof-invalid', "the server's signature");
  }
  const keys = deriveKeys(context.randomness.privateKey, frame.ephemeral, signed);
  if (keys === undefined) return fail('proof-invalid', "the server's ephemeral key is of small order");
  return {
    state: { at: 'judging-full', hello, reply: bytes, keys, peer, peerToken: frame.token },
    effects: [{ kind: 'judge', peer, handshake: 'full' }],
  };
}

function judged<I extends PeerIdentity>(
  state: ClientState<I>,
  event: HandshakeEvent & { kind: 'judged' },
  context: ClientContext<I>,
): ClientStep<I> {
  if (state.at === 'judging-resumed') {
    if (!event.verdict.allow) return fail(event.verdict.reason, event.verdict.detail, state.peer);
    return done([{ kind: 'forward' }, { kind: 'established', peer: state.peer, handshake: 'resumed' }]);
  }
  if (state.at !== 'judging-full') throw new Error(`judged while ${state.at}`);
  const transcript = [state.hello, state.reply];
  if (!event.verdict.allow) {
    const { reason, detail } = event.verdict;
    return done([
      { kind: 'send', bytes: clientRefusal(state, reason) },
      { kind: 'failed', reason, detail, peer: state.peer },
    ]);
  }
  const signed = transcriptHash(transcript);
  const signature = signTranscript(context.credentials.privateKey, CONTEXT.clientProof, signed);
  const proof = encodeFrame({ type: 'proof', signature, mac: new Uint8Array(MAC_BYTES) });
  const bound = withoutTail(proof, MAC_BYTES);
  proof.set(mac(state.keys.clientMac, CONTEXT.proofMac, [...transcript, bound]), bound.length);
  return {
    state: { ...state, at: 'awaiting-verdict', proof },
    effects: [{ kind: 'send', bytes: proof }, { kind: 'forward' }],
  };
}

function verdict<I extends PeerIdentity>(
  state: ClientState<I> & { at: 'awaiting-verdict' },
  frame: Verdict,
  bytes: Uint8Array,
  context: ClientContext<I>,
  clock: Clock,
): ClientStep<I> {
  const transcript = [state.hello, state.reply, state.proof, withoutTail(bytes, MAC_BYTES)];
  if (!macEquals(mac(state.keys.serverMac, CONTEXT.verdict, transcript), frame.mac)) {
    return fail('proof-invalid', 'MAC of the verdict', state.peer);
  }
  const session = sessionOf(state.keys, state.peer, state.peerToken, clock, context.credentials.expiresAt);
  const agreed = clock.monotonic + frame.lifetime * 1000;
  if (frame.lifetime > 0) context.remember({ ...session, expiresAt: Math.min(session.expiresAt, agreed) });
  return done([{ kind: 'established', peer: state.peer, handshake: 'full' }]);
}

/** Without keys a refusal is a hint: it ends this connection and nothing else. With keys it counts only with its MAC. */
function refused<I extends PeerIdentity>(
  state: ClientState<I>,
  frame: Refusal,
  bytes: Uint8Array,
  context: ClientContext<I>,
): ClientStep<I> {
  const bound = [...transcriptOf(state), withoutTail(bytes, frame.mac.length)];
  const isUnder = (key: Uint8Array): boolean => macEquals(mac(key, CONTEXT.serverRefusal, bound), frame.mac);
  const refuser = refuserOf(state, context, isUnder);
  if (refuser !== undefined) return fail('refused-by-peer', frame.code, refuser);
  const proven = state.at === 'awaiting-verdict' ? state.peer : undefined;
  const forged = proven !== undefined || frame.mac.length > 0;
  return forged
    ? fail('proof-invalid', 'MAC of the refusal', proven)
    : fail('refused-by-peer', `${frame.code} (not authenticated)`);
}

/** Who refuses, by the keys that there are: those of this handshake, or before it those of the offered sessions. */
function refuserOf<I extends PeerIdentity>(
  state: ClientState<I>,
  context: ClientContext<I>,
  isUnder: (key: Uint8Array) => boolean,
): I | undefined {
  if (state.at === 'awaiting-verdict') return isUnder(state.keys.serverMac) ? state.peer : undefined;
  if (state.at !== 'awaiting-reply') return undefined;
  return context.offers.find(({ session }) => isUnder(session.serverKey))?.session.peer;
}

function transcriptOf<I extends PeerIdentity>(state: ClientState<I>): readonly Uint8Array[] {
  if (state.at === 'awaiting-verdict') return [state.hello, state.reply, state.proof];
  return state.at === 'awaiting-reply' ? [state.hello] : [];
}

function clientRefusal<I extends PeerIdentity>(state: Keyed<I>, reason: DenyReason): Uint8Array {
  const bytes = encodeFrame({
    type: 'refusal',
    code: refusalCode(reason),
    mac: new Uint8Array(MAC_BYTES),
  });
  const bound = withoutTail(bytes, MAC_BYTES);
  bytes.set(
    mac(state.keys.clientMac, CONTEXT.clientRefusal, [state.hello, state.reply, bound]),
    bound.length,
  );
  return bytes;
}

function done<I extends PeerIdentity>(effects: readonly Effect<I>[]): ClientStep<I> {
  return { state: { at: 'done' }, effects };
}

function fail<I extends PeerIdentity>(reason: DenyReason, detail: string, peer?: I): ClientStep<I> {
  return done([{ kind: 'failed', reason, detail, ...(peer === undefined ? {} : { peer }) }]);
}
