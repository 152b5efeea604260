import { buildReset } from './packets-build.ts';
import { isReset, isSynAck, TCP_FLAG, type TcpPacket, tupleOf } from './packets.ts';
import { TokenBucket } from './token-bucket.ts';

/** RSTs a second for packets of connections that nobody knows. */
const STRAY_RESETS = { perSecond: 1_000, burst: 1_000 };

/** Tells both ends of a connection that nobody here knows that it is over, so often a second and no more. */
export class StrayPackets {
  readonly #answered = new TokenBucket(STRAY_RESETS);

  /**
   * The packets to send for one that was dropped because its connection is not known.
   * @param now monotonic milliseconds
   */
  answers(packet: TcpPacket, now: number): readonly Uint8Array[] {
    if (isReset(packet) || isSynAck(packet) || (packet.flags & TCP_FLAG.ack) === 0) return [];
    if (!this.#answered.take(now)) return [];
    return [
      buildReset(tupleOf(packet, true), { sequence: packet.acknowledgement }),
      buildReset(tupleOf(packet), { sequence: packet.sequence }),
    ];
  }
}
