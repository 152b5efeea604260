import { strictEqual } from 'node:assert/strict';
import type { Marks } from '../../src/nfqueue/marks.ts';
import { HOOK, type FlowTuple, type QueuedPacket } from '../../src/nfqueue/packet-path.ts';
import { tupleOf } from '../../src/nfqueue/packets.ts';
import { AttributeReader } from '../../src/netlink/attributes.ts';
import { encodeMark } from '../../src/netlink/conntrack.ts';
import { decodeMessages } from '../../src/netlink/message.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';
import { encodeVerdict, VERDICT } from '../../src/netlink/queue.ts';
import { packetOf } from './wire-reading.ts';

const PACKET = 3 << 8;
const NEW_CONNECTION = 1 << 8;
const VERDICT_MESSAGE = PACKET | 1;

/** A packet as the kernel hands it over: the one message of a datagram. */
export function encodeQueued(packet: QueuedPacket): Uint8Array {
  const header = Buffer.alloc(7);
  header.writeUInt32BE(packet.id, 0);
  header.writeUInt16BE(0x0800, 4);
  header[6] = packet.hook;
  const writer = new MessageWriter();
  writer
    .begin(PACKET, 0, 0)
    .netfilter(packet.bytes[0]! >> 4 === 6 ? 10 : 2, packet.queue)
    .bytes(1, header);
  if (packet.mark !== 0) writer.u32(3, packet.mark);
  if (packet.hook === HOOK.prerouting) writer.u32(5, packet.inInterface);
  else writer.u32(6, packet.outInterface);
  writer.bytes(10, packet.bytes);
  if (packet.truncated) writer.u32(13, packet.bytes.length + 1);
  return writer.end().take();
}

type Order =
  | { readonly kind: 'mark'; readonly tuple: FlowTuple; readonly mark: number; readonly mask: number }
  | { readonly kind: 'verdict'; readonly bytes: Uint8Array }
  | { readonly kind: 'drop' };

/** Reads what the addon orders about a packet, and demands that TypeScript would have written the very same bytes. */
export function readOrders(orders: Uint8Array, packet: QueuedPacket, marks: Marks): Order[] {
  const read: Order[] = [];
  const again = new MessageWriter();
  const { received, whole } = decodeMessages(orders);
  strictEqual(whole, true);
  for (const message of received) {
    if (message.kind !== 'message') throw new Error(`an order is ${message.kind}`);
    if (message.type === NEW_CONNECTION) {
      const attributes = new AttributeReader(message.bytes, message.start + 4, message.end);
      let mark = 0;
      while (attributes.next()) if (attributes.type === 8) mark = attributes.u32()!;
      // A SYN-ACK has the tuple of its connection the other way round.
      const tuple = tupleOf(packetOf(packet.bytes), true);
      const masked = { value: mark, mask: marks.mask };
      encodeMark(again, tuple, masked, { liberal: true, acknowledge: false }, 0);
      read.push({ kind: 'mark', tuple, mark, mask: marks.mask });
    } else {
      strictEqual(message.type, VERDICT_MESSAGE);
      const attributes = new AttributeReader(message.bytes, message.start + 4, message.end);
      let bytes: Uint8Array | undefined;
      let accepted = false;
      while (attributes.next()) {
        if (attributes.type === 2) accepted = attributes.u32() === VERDICT.accept;
        if (attributes.type === 10) bytes = attributes.bytes();
      }
      if (!accepted) {
        encodeVerdict(again, packet, VERDICT.drop, {}, 0);
        read.push({ kind: 'drop' });
        continue;
      }
      encodeVerdict(again, packet, VERDICT.accept, { mark: marks.withAccepted(packet.mark), bytes }, 0);
      read.push({ kind: 'verdict', bytes: bytes!.slice() });
    }
  }
  strictEqual(Buffer.from(again.take()).toString('hex'), Buffer.from(orders).toString('hex'));
  // A mark goes before the packet that makes the other side speak.
  strictEqual(
    read.findLastIndex(({ kind }) => kind !== 'mark'),
    read.length - 1,
  );
  return read;
}
