import type { NativeNetlink, NativeRaw } from '../native.ts';
import { LITTLE_ENDIAN } from '../netlink/byte-order.ts';
import { decodeMessages } from '../netlink/message.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { BIND_ANSWERS, decodeVerdict, encodePacket, VERDICT } from '../netlink/queue.ts';
import type { PacketAddon } from './kernel-packet-path.ts';

/** An acknowledgement of `linux/netlink.h`: an error whose number is 0. */
const ACKNOWLEDGEMENT = new Uint8Array(36);
new DataView(ACKNOWLEDGEMENT.buffer).setUint32(0, ACKNOWLEDGEMENT.length, LITTLE_ENDIAN);
new DataView(ACKNOWLEDGEMENT.buffer).setUint16(4, 2, LITTLE_ENDIAN);
const DEVICE = 1;

/**
 * What the kernel and the addon are to {@link KernelPacketPath}, for a rehearsal: one pod's queue, in memory. A packet comes as a message of netlink, in a turn of the event
 * loop of its own; what the proxy lets go on is handed to whoever brought it. Marks of connections are heard and forgotten.
 */
export class RehearsedQueue implements PacketAddon {
  readonly #waiting = new Map<
    number,
    { readonly bytes: Uint8Array; readonly then: (bytes: Uint8Array) => void }
  >();
  readonly #onSent: (packet: Uint8Array) => void;
  readonly #writer = new MessageWriter();
  #listener: Parameters<PacketAddon['netlinkListen']>[1] | undefined;
  #number = 0;
  #answers = 0;

  /** @param onSent hears of each packet that the proxy sends of its own */
  constructor(onSent: (packet: Uint8Array) => void) {
    this.#onSent = onSent;
  }

  /**
   * A packet comes into the queue.
   * @param hook where (`HOOK` in `src/netlink/queue.ts`)
   * @param then gets what is let go on, as it was changed; not called for what is dropped
   */
  arrive(bytes: Uint8Array, hook: number, then: (bytes: Uint8Array) => void): void {
    const id = ++this.#number;
    this.#waiting.set(id, { bytes: bytes.slice(), then });
    setImmediate(() => {
      encodePacket(this.#writer, { queue: 0, id, hook, inDevice: DEVICE, outDevice: DEVICE, bytes });
      this.#listener?.(this.#writer.take().slice(), 0, undefined);
    });
  }

  netlinkOpen(): NativeNetlink {
    return {} as NativeNetlink;
  }

  netlinkSend(_netlink: NativeNetlink, messages: Uint8Array): void {
    for (const message of decodeMessages(messages).received) {
      const order = message.kind === 'message' ? decodeVerdict(message) : undefined;
      if (order === undefined) {
        this.#answers = BIND_ANSWERS;
        continue;
      }
      const decided = this.#waiting.get(order.id);
      this.#waiting.delete(order.id);
      if (order.verdict === VERDICT.accept) decided?.then((order.bytes ?? decided.bytes).slice());
    }
  }

  netlinkReceive(): Uint8Array | undefined {
    return this.#answers-- > 0 ? ACKNOWLEDGEMENT : undefined;
  }

  netlinkReceiveAll(): undefined {
    return undefined;
  }

  netlinkListen(_netlink: NativeNetlink, listener: Parameters<PacketAddon['netlinkListen']>[1]): void {
    this.#listener = listener;
  }

  netlinkClose(): void {
    this.#listener = undefined;
  }

  rawOpen(): NativeRaw {
    return {} as NativeRaw;
  }

  rawSend(_raw: NativeRaw, _destination: Uint8Array, _device: number, packet: Uint8Array): void {
    this.#onSent(packet.slice());
  }

  rawClose(): void {}

  queuePassesEnded(): never {
    throw new Error('a rehearsal has no passes');
  }
}
