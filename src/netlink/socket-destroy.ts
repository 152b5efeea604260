import { LITTLE_ENDIAN } from './byte-order.ts';
import { FLAG } from './message.ts';
import type { MessageWriter } from './message-writer.ts';
import { AF, checkTuple, type Tuple } from './tuple.ts';

/** `linux/sock_diag.h`. */
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
const REQUEST_BYTES = 56;
const ALL_STATES = 0xffff_ffff;

/**
 * Ends a socket of this network namespace at once: its program gets ECONNABORTED, its peer a reset. `local` is the source of what the
 * socket sends. The kernel answers ENOENT when there is none, and EOPNOTSUPP without CONFIG_INET_DIAG_DESTROY.
 */
export function encodeSocketDestroy(writer: MessageWriter, sending: Tuple, sequence: number): void {
  checkTuple(sending);
  const request = new Uint8Array(REQUEST_BYTES);
  const view = new DataView(request.buffer);
  view.setUint8(0, AF[sending.family]);
  view.setUint8(1, IPPROTO_TCP);
  view.setUint32(4, ALL_STATES, LITTLE_ENDIAN);
  view.setUint16(8, sending.sourcePort);
  view.setUint16(10, sending.destinationPort);
  request.set(sending.sourceAddress, 12);
  request.set(sending.destinationAddress, 28);
  // Interface 0, and the cookie that fits every socket.
  view.setUint32(48, 0xffff_ffff);
  view.setUint32(52, 0xffff_ffff);
  writer
    .begin(SOCK_DESTROY, FLAG.request | FLAG.ack, sequence)
    .raw(request)
    .end();
}
