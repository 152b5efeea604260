import { randomBytes } from 'node:crypto';
import {
  decodeFrame,
  encodeFrame,
  helloAdmissionInput,
  helloBinderInput,
} from '../../src/handshake/frames.ts';
import type { Hello, Offer } from '../../src/handshake/frame-types.ts';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import { withPayload } from '../../src/nfqueue/packets-build.ts';
import { isOpening, payloadOf } from '../../src/nfqueue/packets.ts';
import type { ServicePods } from './service-pods.ts';
import { packetOf } from './wire-reading.ts';

/** What somebody on the way, or a client that does as it likes, makes of the offers of a Hello. */
export const ALTERATIONS = [
  'moved',
  'reversed',
  'one left out',
  'one said twice',
  'an unknown one before',
  'an unknown one behind',
  'an unknown one instead of another',
  'a counter that was used',
  'a counter far ahead',
  'a binder of another',
  'a binder of nothing',
  'count too small',
  'count too large',
  'count of many',
  'count of none',
  'none',
] as const;
export type Alteration = (typeof ALTERATIONS)[number];

/**
 * The SYN with other offers in its Hello.
 * @param sealed the MACs are right for them, as the client itself would make them; else they are those of the Hello before
 * @param which of the offers it is about, counted around
 */
export function withAlteredOffers(
  pods: ServicePods,
  syn: Uint8Array,
  how: Alteration,
  sealed: boolean,
  which: number,
): Uint8Array {
  const packet = packetOf(syn);
  const frame = isOpening(packet) ? decodeFrame(payloadOf(packet)) : undefined;
  if (frame?.type !== 'hello' || frame.offers.length === 0) return syn;
  const keys = clientKeys(pods);
  const altered = alter(frame, how, which % frame.offers.length, pods);
  const bytes = encodeFrame(altered);
  if (sealed) seal(bytes, altered, how, keys, pods);
  const countAt = bytes.length - 16 - 40 * altered.offers.length - 1;
  const count = COUNTS[how]?.(altered.offers.length);
  if (count !== undefined) bytes[countAt] = count & 255;
  if (sealed && count !== undefined) admit(bytes, pods);
  return withPayload(packet, [bytes]);
}

const COUNTS: Partial<Record<Alteration, (count: number) => number>> = {
  'count too small': (count) => count - 1,
  'count too large': (count) => count + 1,
  'count of many': () => 255,
  'count of none': () => 0,
};

interface Pair {
  readonly offer: Offer;
  readonly binder: Uint8Array;
}

/** @param at which one it is about */
const OFFERED: Partial<
  Record<Alteration, (pairs: readonly Pair[], at: number, pods: ServicePods) => Pair[]>
> = {
  moved: (pairs) => [...pairs.slice(1), pairs[0]!],
  reversed: (pairs) => pairs.toReversed(),
  'one left out': (pairs, at) => pairs.toSpliced(at, 1),
  'one said twice': (pairs, at) =>
    [...pairs, ...counted(pairs, at, pairs[at]!.offer.counter + 1_000n).slice(at, at + 1)].slice(-8),
  'an unknown one before': (pairs) => [unknown(), ...pairs].slice(0, 8),
  'an unknown one behind': (pairs) => [...pairs, unknown()].slice(0, 8),
  'an unknown one instead of another': (pairs, at) => pairs.with(at, unknown()),
  'a counter that was used': (pairs, at, pods) => counted(pairs, at, used(pods, pairs[at]!.offer)),
  'a counter far ahead': (pairs, at) => counted(pairs, at, pairs[at]!.offer.counter + 1_000_000n),
  'a binder of another': (pairs, at) =>
    pairs.with(at, { ...pairs[at]!, binder: pairs[(at + 1) % pairs.length]!.binder }),
  'a binder of nothing': (pairs, at) => pairs.with(at, { ...pairs[at]!, binder: new Uint8Array(16) }),
};

function alter(frame: Hello, how: Alteration, at: number, pods: ServicePods): Hello {
  const pairs = frame.offers.map((offer, index) => ({ offer, binder: frame.binders[index]! }));
  const made = OFFERED[how]?.(pairs, at, pods) ?? pairs;
  return { ...frame, offers: made.map(({ offer }) => offer), binders: made.map(({ binder }) => binder) };
}

function unknown(): Pair {
  return { offer: { sessionId: randomBytes(16), counter: 7n }, binder: randomBytes(16) };
}

function counted(pairs: readonly Pair[], at: number, counter: bigint): Pair[] {
  const { offer, binder } = pairs[at]!;
  return pairs.with(at, { offer: { ...offer, counter }, binder });
}

/** The counter of the first Hello that offered this session, wherever it went. */
function used({ wire }: ServicePods, { sessionId, counter }: Offer): bigint {
  for (const { bytes } of wire) {
    const frame = decodeFrame(payloadOf(packetOf(bytes)));
    if (frame.type !== 'hello') continue;
    const found = frame.offers.find((one) => Buffer.compare(one.sessionId, sessionId) === 0);
    if (found !== undefined) return found.counter;
  }
  return counter;
}

type Keys = ReadonlyMap<string, Uint8Array>;

/** Of all sessions that the client has with the Service. */
function clientKeys({ client, address }: ServicePods): Keys {
  const { client: sessions } = client.pod.proxy!.surroundings.sessions;
  const offers = sessions.offer(address, performance.now());
  return new Map(offers.map(({ session }) => [Buffer.from(session.id).toString('hex'), session.clientKey]));
}

function seal(bytes: Uint8Array, { offers }: Hello, how: Alteration, keys: Keys, pods: ServicePods): void {
  const bound = helloBinderInput(bytes, offers.length);
  const kept = how === 'a binder of another' || how === 'a binder of nothing';
  for (const [index, { sessionId }] of offers.entries()) {
    const key = keys.get(Buffer.from(sessionId).toString('hex'));
    if (key !== undefined && !kept) bytes.set(mac(key, CONTEXT.binder, [bound]), bound.length + 16 * index);
  }
  admit(bytes, pods);
}

function admit(bytes: Uint8Array, { simulation }: ServicePods): void {
  const admitted = helloAdmissionInput(bytes);
  bytes.set(mac(simulation.admissionKey, CONTEXT.admission, [admitted]), admitted.length);
}
