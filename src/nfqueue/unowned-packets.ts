import type { Marks } from './marks.ts';
import type { PacketPath, QueuedPacket } from './packet-path.ts';
import { deviceOf } from './heard-packet.ts';
import { buildReset } from './packets-build.ts';
import { isReset, sequenceAdd, type TcpPacket, tupleOf } from './packets.ts';
import type { RefusedOpening } from './queued-flow.ts';
import { StrayPackets } from './stray-packets.ts';

/** What becomes of packets that are of no flow, and make none. */
export class UnownedPackets {
  readonly #path: () => PacketPath;
  readonly #marks: Marks;
  readonly #strays = new StrayPackets();

  constructor(path: () => PacketPath, marks: Marks) {
    this.#path = path;
    this.#marks = marks;
  }

  /** The SYN goes no further and is answered with a RST. */
  refuse(queued: QueuedPacket, packet: TcpPacket, { one, judgement }: RefusedOpening): void {
    this.#path().verdict(queued, 'drop');
    const numbers = { sequence: 0, acknowledgement: sequenceAdd(packet.sequence, 1) };
    this.#path().sendPacket(buildReset(tupleOf(packet, true), numbers), deviceOf(queued));
    one.flow.deny(judgement);
  }

  /** The opening packet goes on unchanged, and nat redirects it to the proxy's own listener. */
  toListener(queued: QueuedPacket): void {
    this.#path().verdict(queued, 'accept', { mark: this.#marks.withStream(queued.mark) });
  }

  /** A packet in the middle of a connection that nobody knows: dropped, and both ends are told. */
  stray(queued: QueuedPacket, packet: TcpPacket, key: string): void {
    if (isReset(packet)) return this.#path().verdict(queued, 'accept');
    this.#path().verdict(queued, 'drop');
    for (const answer of this.#strays.answers(packet, key, performance.now())) {
      this.#path().sendPacket(answer, deviceOf(queued));
    }
  }

  /** A connection has turned to the other carrier: what is still said of it is answered to nobody. */
  turned(key: string): void {
    this.#strays.turned(key);
  }
}
