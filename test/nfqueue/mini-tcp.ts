import { buildPacket } from '../../src/nfqueue/packets-build.ts';
import { finishPacket, hasRightChecksum } from '../../src/nfqueue/packets-checksum.ts';
import type { FlowTuple } from '../../src/nfqueue/packet-path.ts';
import {
  isOpening,
  isReset,
  isSynAck,
  parseTcpPacket,
  payloadOf,
  sequenceAdd,
  sequenceDistance,
  TCP_FLAG,
  type TcpPacket,
} from '../../src/nfqueue/packets.ts';

type State = 'closed' | 'listen' | 'syn-sent' | 'syn-received' | 'established' | 'reset';

/** SACK, timestamps, window scale. */
const LINUX_OPTIONS = [4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

/**
 * As much of a TCP (RFC 9293) as a handshake and a few bytes need: one connection, retransmission by hand, no windows, no FIN. What its application
 * would read is in `received`; packets that a kernel would not believe change nothing.
 */
export class MiniTcp {
  state: State = 'closed';
  received = '';
  /** Bytes of the largest segment; less when a router has said that a packet was too big for the path. */
  mss: number;
  /** Options beside the MSS of its SYN, or SYN-ACK. */
  synOptions: readonly number[] = [];
  /** SYN and SYN-ACK have all options that Linux writes. */
  linux = false;
  /** Payload of its SYN, as with Fast Open. */
  synPayload = '';
  /** Does not keep a half-open connection, as with SYN cookies: says SYN-ACK once. */
  cookies = false;
  readonly #tuple: FlowTuple;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #initial: number;
  #otherInitial = 0;
  /** What is sent and not acknowledged yet begins here. */
  #acknowledged: number;
  #outgoing = Buffer.alloc(0);
  readonly #early = new Map<number, string>();

  /** @param tuple from this end to the other one */
  constructor(tuple: FlowTuple, initial: number, send: (bytes: Uint8Array) => void, mss = 1460) {
    this.#tuple = tuple;
    this.#initial = initial >>> 0;
    this.#acknowledged = sequenceAdd(initial, 1);
    this.#send = send;
    this.mss = mss;
  }

  get initial(): number {
    return this.#initial;
  }

  /** Sequence number that it expects next. */
  get expected(): number {
    return sequenceAdd(this.#otherInitial, 1 + Buffer.byteLength(this.received, 'latin1'));
  }

  connect(): void {
    this.state = 'syn-sent';
    this.retransmit();
  }

  /** Hands bytes over for sending. */
  write(text: string): void {
    this.#outgoing = Buffer.concat([this.#outgoing, Buffer.from(text, 'latin1')]);
    if (this.state === 'established') this.retransmit();
  }

  /** Says again whatever has no answer yet. */
  retransmit(): void {
    if (this.state === 'syn-sent') this.#syn();
    else if (this.state === 'syn-received') {
      if (!this.cookies) this.#synAck();
    } else if (this.state === 'established') {
      for (let at = 0; at < this.#outgoing.length; at += this.mss) {
        const part = this.#outgoing.subarray(at, at + this.mss);
        this.#segment(TCP_FLAG.ack | TCP_FLAG.psh, sequenceAdd(this.#acknowledged, at), part);
      }
    }
  }

  /** A packet from the network, as the kernel gets it. */
  receive(bytes: Uint8Array): void {
    const packet = parseTcpPacket(bytes);
    if ('error' in packet || !hasRightChecksum(packet)) return;
    if (packet.destinationPort !== this.#tuple.sourcePort) return;
    if (packet.sourcePort !== this.#tuple.destinationPort) return;
    if (isReset(packet)) return this.#reset(packet);
    if (this.state === 'listen' && isOpening(packet)) {
      this.#otherInitial = packet.sequence;
      this.state = 'syn-received';
      // A listener with Fast Open would hand this over at once.
      this.received += Buffer.from(payloadOf(packet)).toString('latin1');
      return this.#synAck();
    }
    if (this.state === 'syn-received' && isOpening(packet) && packet.sequence === this.#otherInitial) {
      return this.#synAck();
    }
    if (isSynAck(packet)) return this.#acceptSynAck(packet);
    if (isOpening(packet) || (packet.flags & TCP_FLAG.ack) === 0) return;
    if (this.state === 'syn-received' && packet.acknowledgement === sequenceAdd(this.#initial, 1)) {
      const end = sequenceAdd(packet.sequence, payloadOf(packet).length);
      if (sequenceDistance(this.expected, end) < 0) return;
      this.state = 'established';
      this.retransmit();
    }
    if (this.state === 'established') this.#data(packet);
  }

  #acceptSynAck(packet: TcpPacket): void {
    if (packet.acknowledgement !== sequenceAdd(this.#initial, 1)) return;
    if (this.state === 'syn-sent') {
      this.#otherInitial = packet.sequence;
      this.state = 'established';
      this.received += Buffer.from(payloadOf(packet)).toString('latin1');
      this.#segment(TCP_FLAG.ack, this.#acknowledged);
      this.retransmit();
    } else if (this.state === 'established') {
      this.#segment(TCP_FLAG.ack, this.#acknowledged);
    }
  }

  #data(packet: TcpPacket): void {
    const acknowledged = sequenceDistance(this.#acknowledged, packet.acknowledgement);
    if (acknowledged > 0 && acknowledged <= this.#outgoing.length) {
      this.#outgoing = this.#outgoing.subarray(acknowledged);
      this.#acknowledged = packet.acknowledgement;
    }
    const payload = Buffer.from(payloadOf(packet)).toString('latin1');
    if (payload === '') return;
    this.#early.set(packet.sequence, payload);
    for (let again = true; again;) {
      again = false;
      for (const [sequence, text] of this.#early) {
        const old = sequenceDistance(sequence, this.expected);
        if (old < 0) continue;
        this.#early.delete(sequence);
        this.received += text.slice(old);
        again = true;
      }
    }
    this.#segment(TCP_FLAG.ack, sequenceAdd(this.#acknowledged, this.#outgoing.length));
  }

  #reset(packet: TcpPacket): void {
    if (this.state === 'syn-sent') {
      const right = (packet.flags & TCP_FLAG.ack) !== 0;
      if (right && packet.acknowledgement === sequenceAdd(this.#initial, 1)) this.state = 'reset';
    } else if (this.state === 'syn-received' || this.state === 'established') {
      if (packet.sequence === this.expected) this.state = 'reset';
    }
  }

  #syn(): void {
    this.#opening(TCP_FLAG.syn, 0, this.synOptions, this.synPayload);
  }

  #synAck(): void {
    this.#opening(TCP_FLAG.syn | TCP_FLAG.ack, sequenceAdd(this.#otherInitial, 1), this.synOptions, '');
  }

  #opening(flags: number, acknowledgement: number, more: readonly number[], text: string): void {
    const segment = [2, 4, this.mss >> 8, this.mss & 255];
    const options = Buffer.from([...segment, ...(this.linux ? LINUX_OPTIONS : []), ...more]);
    const padded = Buffer.alloc(Math.ceil(options.length / 4) * 4, 1);
    options.copy(padded);
    const payload = Buffer.concat([padded, Buffer.from(text, 'latin1')]);
    const bytes = buildPacket(this.#tuple, {
      sequence: this.#initial,
      acknowledgement,
      flags,
      window: 65_535,
      payload,
    });
    const tcpAt = this.#tuple.family === 4 ? 20 : 40;
    bytes[tcpAt + 12] = (5 + padded.length / 4) << 4;
    finishPacket(bytes, this.#tuple.family, tcpAt);
    this.#send(bytes);
  }

  #segment(flags: number, sequence: number, payload: Uint8Array = new Uint8Array(0)): void {
    const acknowledgement = this.expected;
    this.#send(buildPacket(this.#tuple, { sequence, acknowledgement, flags, window: 65_535, payload }));
  }
}
