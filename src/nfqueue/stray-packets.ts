import { buildReset } from './packets-build.ts';
import { isReset, isSynAck, TCP_FLAG, type TcpPacket, tupleOf } from './packets.ts';
import { TokenBucket } from './token-bucket.ts';

/** RSTs a second for packets of connections that nobody knows. */
const STRAY_RESETS = { perSecond: 1_000, burst: 1_000 };

/** Tells both ends of a connection that nobody here knows that it is over, so often a second and no more. */
export class StrayPackets {
  readonly #answered = new TokenBucket(STRAY_RESETS);

  /**
   * The packets to send for one that was dropped because its connection is not known. Who sends a SYN-ACK that nobody asked for is told alone, as a
   * kernel would tell him (RFC 9293 section 3.10.7.1): the other side may be about to open that connection, or to repeat its SYN.
   * @param now monotonic milliseconds
   */
  answers(packet: TcpPacket, now: number): readonly Uint8Array[] {
    if (isReset(packet) || (packet.flags & TCP_FLAG.ack) === 0) return [];
    if (!this.#answered.take(now)) return [];
    const toSender = buildReset(tupleOf(packet, true), { sequence: packet.acknowledgement });
    if (isSynAck(packet)) return [toSender];
    return [toSender, buildReset(tupleOf(packet), { sequence: packet.sequence })];
  }
}
