import { randomBytes } from 'node:crypto';
import { buildHello, type HelloFacts } from '../../src/handshake/hello.ts';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import { loadAddon } from '../../src/native.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { type FlowTuple, HOOK, type QueuedPacket } from '../../src/nfqueue/packet-path.ts';
import { type PassRecord, readPassRecords } from '../../src/nfqueue/pass-records.ts';
import { passSettings } from '../../src/nfqueue/pass-settings.ts';
import { withPayload } from '../../src/nfqueue/packets-build.ts';
import { finishPacket } from '../../src/nfqueue/packets-checksum.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import type { OtherOffer } from '../../src/relay/resumption.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { MiniTcp } from './mini-tcp.ts';
import { encodeQueued, readOrders } from './queue-messages.ts';
import { MARKS } from './queued-network.ts';
import { packetOf } from './wire-reading.ts';

const MAC_BYTES = 16;
export const NOTHING = new Uint8Array(0);

/** What a pass has decided: the packet as it goes on, and whose connection it has marked before. */
export interface Decided {
  /** Empty: it is dropped. */
  readonly bytes: Uint8Array;
  readonly marked: FlowTuple | undefined;
}

/** The addon's passes of one pod, without anything of TypeScript above them: who may call it, and whom it may call. */
export class BarePasses {
  readonly addon = loadAddon();
  readonly dataPath = new NativeDataPath(this.addon, NO_EVENTS);
  readonly handle = this.dataPath.resumption.openQueues!(passSettings(MARKS, 3))!;
  readonly session = { id: randomBytes(16), clientKey: randomBytes(32), serverKey: randomBytes(32) };
  readonly window = this.dataPath.resumption.openWindow();
  readonly admissionKey = randomBytes(32);
  readonly token = randomBytes(200);
  readonly own: Endpoint;
  readonly peer: Endpoint;
  readonly tcpAt: number;
  #number = 0;
  #passes = 0;
  #ports = 20_000;
  #counters = 0n;

  constructor(six = false) {
    this.own = { address: six ? 'fd00::2' : '10.0.0.2', port: 80 };
    this.peer = { address: six ? 'fd00::1' : '10.0.0.1', port: 90 };
    this.tcpAt = six ? 40 : 20;
  }

  /** The peer may call the own port. @returns whether there was room */
  passInbound(changes: { lifetimeMs?: number; peer?: string; offered?: Uint8Array[] } = {}): boolean {
    return this.dataPath.resumption.passInbound({
      number: ++this.#passes,
      carrier: 'syn',
      lifetimeMs: 60_000,
      session: this.session,
      window: this.window,
      peer: this.peer.address,
      reached: this.own,
      target: this.own,
      meant: this.own,
      token: this.token,
      keepSource: false,
      admissionKeys: [randomBytes(32), this.admissionKey],
      ...changes,
    });
  }

  /** The own application may call the peer. */
  passOutbound(
    changes: { lifetimeMs?: number; first?: bigint; count?: number; others?: OtherOffer[] } = {},
  ): void {
    const { lifetimeMs = 60_000, first = 1_000n, count = 10_000, others = [] } = changes;
    const offers = [this.session, ...others.map(({ session }) => session)];
    this.dataPath.resumption.passOutbound({
      number: ++this.#passes,
      carrier: 'syn',
      lifetimeMs,
      session: this.session,
      dialled: this.peer,
      target: this.peer,
      ofSeveral: false,
      fastOpen: false,
      synData: false,
      hello: this.hello({
        destination: this.peer,
        offers: offers.map((session) => ({ session, counter: 0n })),
      }),
      admissionKey: this.admissionKey,
      counters: { first, count },
      others,
    });
  }

  /** Each with a counter of its own. */
  hello(changes: Partial<HelloFacts> = {}): Uint8Array {
    return buildHello({
      wishes: { encryption: 'none' },
      carrier: 'syn',
      nonce: randomBytes(32),
      ephemeral: randomBytes(32),
      destination: this.own,
      cookie: new Uint8Array(0),
      token: this.token,
      offers: [{ session: this.session, counter: this.#counters++ }],
      admissionKey: this.admissionKey,
      ...changes,
    });
  }

  /** Puts the right MACs into a Hello whose bytes were changed. */
  sealed(hello: Uint8Array, which: { binder: boolean; admission: boolean }): Uint8Array {
    const sealed = hello.slice();
    const [binderAt, admissionAt] = [sealed.length - 2 * MAC_BYTES, sealed.length - MAC_BYTES];
    if (which.binder)
      sealed.set(mac(this.session.clientKey, CONTEXT.binder, [sealed.subarray(0, binderAt)]), binderAt);
    if (which.admission)
      sealed.set(mac(this.admissionKey, CONTEXT.admission, [sealed.subarray(0, admissionAt)]), admissionAt);
    return sealed;
  }

  /** A Hello with so many bytes more, or less, before its binder; length and MACs say that it is so. */
  stretched(by: number): Uint8Array {
    const hello = this.hello();
    const binderAt = hello.length - 2 * MAC_BYTES;
    const body = [
      ...hello.subarray(0, Math.min(binderAt, binderAt + by)),
      ...new Uint8Array(Math.max(0, by)),
    ];
    const bytes = Uint8Array.from([...body, ...hello.subarray(binderAt)]);
    new DataView(bytes.buffer).setUint16(10, bytes.length - 12);
    return this.sealed(bytes, { binder: true, admission: true });
  }

  /** The Reply that resumes. */
  reply(hello: Uint8Array, edit: (reply: Uint8Array) => void = () => {}, session = this.session): Uint8Array {
    const magic = [0x9c, 0x43, 0x54, 0x53, 0x47, 0x4e, 0x0d, 0x0a];
    const reply = Uint8Array.from([...magic, 1, 2, 0, 66, 2, 0, ...randomBytes(32), ...session.id]);
    edit(reply);
    return new Uint8Array([...reply, ...mac(session.serverKey, CONTEXT.resumed, [hello, reply])]);
  }

  /** Nobody's ports so far. */
  get nextPort(): number {
    return this.#ports++;
  }

  /** What Linux sends: the SYN of the peer to the own port, or of the own application to the peer. */
  syn(outgoing: boolean, payload: Uint8Array, options: SynOptions = {}): Uint8Array {
    const { port = this.nextPort, initial = 5_000, maximumSegment = 1_460 } = options;
    const [from, to] = outgoing ? [this.own, this.peer] : [this.peer, this.own];
    const tuple: FlowTuple = {
      family: this.tcpAt === 40 ? 6 : 4,
      sourceAddress: addressBytes(from.address)!,
      sourcePort: port,
      destinationAddress: addressBytes(to.address)!,
      destinationPort: to.port,
    };
    let sent = new Uint8Array(0);
    const tcp = new MiniTcp(tuple, initial, (bytes) => (sent = bytes.slice()), maximumSegment);
    tcp.linux = true;
    tcp.connect();
    return payload.length === 0 ? sent : withPayload(packetOf(sent), [payload]);
  }

  /** What Linux answers to a SYN. */
  synAck(syn: Uint8Array, payload: Uint8Array, acknowledged = 1): Uint8Array {
    const bytes = payload.length === 0 ? syn.slice(0, this.tcpAt + 40) : syn.slice();
    const length = this.tcpAt === 40 ? 16 : 4;
    const addressesAt = this.tcpAt === 40 ? 8 : 12;
    bytes.copyWithin(addressesAt, addressesAt + length, addressesAt + 2 * length);
    bytes.set(syn.subarray(addressesAt, addressesAt + length), addressesAt + length);
    bytes.set(syn.subarray(this.tcpAt + 2, this.tcpAt + 4), this.tcpAt);
    bytes.set(syn.subarray(this.tcpAt, this.tcpAt + 2), this.tcpAt + 2);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint32(this.tcpAt + 4, 77_000);
    view.setUint32(this.tcpAt + 8, packetOf(syn).sequence + acknowledged);
    bytes[this.tcpAt + 13] = 0x12;
    this.finish(bytes);
    return payload.length === 0 ? bytes : withPayload(packetOf(bytes), [payload]);
  }

  /** A SYN-ACK of who has sent the SYN: as if it answered itself. */
  turnedToAnswer(syn: Uint8Array, payload: Uint8Array): Uint8Array {
    const bytes = syn.slice(0, this.tcpAt + 40);
    new DataView(bytes.buffer).setUint32(this.tcpAt + 8, packetOf(syn).sequence + 1);
    bytes[this.tcpAt + 13] = 0x12;
    this.finish(bytes);
    return payload.length === 0 ? bytes : withPayload(packetOf(bytes), [payload]);
  }

  /** Lengths and checksums. */
  finish(bytes: Uint8Array): Uint8Array {
    finishPacket(bytes, this.tcpAt === 40 ? 6 : 4, this.tcpAt);
    return bytes;
  }

  /** A packet comes from a queue. @returns undefined: no pass decides it, it is TypeScript's */
  decide(
    bytes: Uint8Array,
    outgoing: boolean,
    changes: Partial<Pick<QueuedPacket, 'mark' | 'truncated'>> = {},
  ): Decided | undefined {
    const packet: QueuedPacket = {
      queue: 1,
      id: this.#number++,
      hook: outgoing ? HOOK.output : HOOK.prerouting,
      mark: 0,
      inInterface: outgoing ? 0 : 2,
      outInterface: outgoing ? 2 : 0,
      bytes,
      truncated: false,
      ...changes,
    };
    const orders = this.addon.queuePassesTry(this.handle, encodeQueued(packet));
    if (orders === undefined) return undefined;
    let marked: FlowTuple | undefined;
    for (const order of readOrders(orders, packet, MARKS)) {
      if (order.kind === 'drop') return { bytes: NOTHING, marked };
      if (order.kind === 'verdict') return { bytes: order.bytes, marked };
      marked = order.tuple;
    }
    throw new Error('a mark alone');
  }

  /** What passes did since the last time, and what they have begun. */
  take(): PassRecord[] {
    const records = this.addon.queuePassesTake(this.handle, 0, 0);
    return records === undefined ? [] : readPassRecords(records, () => {});
  }

  async end(): Promise<void> {
    this.addon.queuePassesClose(this.handle);
    await this.dataPath.close();
  }
}

export function bare(t: { teardown: (end: () => Promise<unknown>) => unknown }, six = false): BarePasses {
  const one = new BarePasses(six);
  t.teardown(() => one.end());
  return one;
}

/** A connection of which the SYN went by a pass, as it left or came. */
export function begun(one: BarePasses, outgoing: boolean): Uint8Array {
  if (outgoing) one.passOutbound();
  else one.passInbound();
  const syn = one.syn(outgoing, outgoing ? NOTHING : one.hello());
  const decided = one.decide(syn, outgoing);
  if (decided === undefined) throw new Error('the SYN did not go by its pass');
  return outgoing ? decided.bytes : syn;
}

/** The Hello that a SYN bears. */
export function helloIn(one: BarePasses, syn: Uint8Array): Uint8Array {
  return syn.slice(one.tcpAt + 40);
}

interface SynOptions {
  readonly port?: number;
  readonly initial?: number;
  readonly maximumSegment?: number;
}
