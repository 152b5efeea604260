import { encodeMark } from '../netlink/conntrack.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import type { MarkOrder, QueuePassSettings } from '../relay/resumption.ts';
import type { Marks } from './marks.ts';

/** What the addon writes about packets and connections that a pass lets through. @param generation of this run */
export function passSettings(marks: Marks, generation: number): QueuePassSettings {
  const verified = marks.verified(generation);
  return {
    marks: {
      mask: marks.mask,
      accepted: marks.accepted.value,
      stream: marks.stream.value,
      streamMask: marks.stream.mask,
    },
    orders: [markOrder(4, verified, marks.mask), markOrder(6, verified, marks.mask)],
  };
}

/** Written once with values that are nowhere else in it: where they stand is where a connection is written. */
function markOrder(family: 4 | 6, value: number, mask: number): MarkOrder {
  const length = family === 4 ? 4 : 16;
  const [sourceAddress, destinationAddress] = [
    new Uint8Array(length).fill(0xa5),
    new Uint8Array(length).fill(0x5a),
  ];
  const [sourcePort, destinationPort] = [0xb6b6, 0x6b6b];
  const writer = new MessageWriter();
  const tuple = { family, sourceAddress, sourcePort, destinationAddress, destinationPort };
  encodeMark(writer, tuple, { value, mask }, { liberal: true, acknowledge: false }, 0);
  const bytes = Buffer.from(writer.take());
  return {
    bytes,
    source: placeOf(bytes, sourceAddress),
    destination: placeOf(bytes, destinationAddress),
    sourcePort: placeOf(bytes, Uint8Array.of(0xb6, 0xb6)),
    destinationPort: placeOf(bytes, Uint8Array.of(0x6b, 0x6b)),
  };
}

function placeOf(bytes: Buffer, value: Uint8Array): number {
  const place = bytes.indexOf(value);
  if (place < 0 || bytes.indexOf(value, place + 1) >= 0)
    throw new Error('a value stands in one place of an order');
  return place;
}
