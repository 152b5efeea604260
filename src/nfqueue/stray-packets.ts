import { LRUCache } from 'lru-cache';
import { buildReset } from './packets-build.ts';
import { isReset, isSynAck, TCP_FLAG, type TcpPacket, tupleOf } from './packets.ts';
import { TokenBucket } from './token-bucket.ts';

/** RSTs a second for packets of connections that nobody knows. */
const STRAY_RESETS = { perSecond: 1_000, burst: 1_000 };
/** Calls that turned to the stream carrier: so many, for as long as a kernel repeats its SYN-ACK (tcp(7), tcp_synack_retries). Milliseconds. */
const TURNED = { max: 4_096, ttl: 63_000 };

/** Tells both ends of a connection that nobody here knows that it is over, so often a second and no more. */
export class StrayPackets {
  readonly #answered = new TokenBucket(STRAY_RESETS);
  readonly #turned = new LRUCache<string, true>(TURNED);

  /**
   * A call goes on by the stream carrier, from the same port. A RST for an answer to its first SYNs would be led by nat the way that the call goes
   * now: to the listener, whose connection it would end.
   */
  turned(key: string): void {
    this.#turned.set(key, true);
  }

  /**
   * The packets to send for one that was dropped because its connection is not known. Who sends a SYN-ACK that nobody asked for is told alone, as a
   * kernel would tell him (RFC 9293 section 3.10.7.1): the other side may be about to open that connection, or to repeat its SYN.
   * @param key of its connection
   * @param now monotonic milliseconds
   */
  answers(packet: TcpPacket, key: string, now: number): readonly Uint8Array[] {
    if (isReset(packet) || (packet.flags & TCP_FLAG.ack) === 0) return [];
    if (isSynAck(packet) && this.#turned.has(key)) return [];
    if (!this.#answered.take(now)) return [];
    const toSender = buildReset(tupleOf(packet, true), { sequence: packet.acknowledgement });
    if (isSynAck(packet)) return [toSender];
    return [toSender, buildReset(tupleOf(packet), { sequence: packet.sequence })];
  }
}
