import { LITTLE_ENDIAN } from './byte-order.ts';

/** `linux/netlink.h`. */
export const FLAG = { request: 0x1, ack: 0x4, dump: 0x300, create: 0x400 } as const;
const TYPE = { error: 2, done: 3, overrun: 4 } as const;
const HEADER_BYTES = 16;
const ERRNO_BYTES = 4;
/** Interrupted: the table changed while it was dumped. */
const DUMP_INTERRUPTED = 0x10;

/** One message from the kernel. `bytes` from `start` to `end` is what follows the header; nothing is copied. */
export interface Message {
  readonly kind: 'message';
  readonly type: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** A dump that this belongs to is not one moment's state. */
  readonly interrupted: boolean;
}

/** The kernel's answer to one request; errno 0 is an acknowledgement. */
export interface Answer {
  readonly kind: 'answer';
  readonly sequence: number;
  readonly errno: number;
}

/** The end of a dump. */
export interface Done {
  readonly kind: 'done';
  readonly sequence: number;
  readonly errno: number;
}

export type Received = Message | Answer | Done;

/**
 * Splits what a netlink socket received (one or more datagrams) into messages. Lengths are checked against what is there: at the first that lies, reading stops.
 * @returns the messages, and whether all bytes were read
 */
export function decodeMessages(bytes: Uint8Array): {
  readonly received: Received[];
  readonly whole: boolean;
} {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const received: Received[] = [];
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(at, LITTLE_ENDIAN);
    if (length < HEADER_BYTES || length > bytes.length - at) return { received, whole: false };
    const type = view.getUint16(at + 4, LITTLE_ENDIAN);
    const flags = view.getUint16(at + 6, LITTLE_ENDIAN);
    const sequence = view.getUint32(at + 8, LITTLE_ENDIAN);
    if (type === TYPE.error || type === TYPE.done) {
      // An errno stands there as a negative number. The end of a dump may come without one.
      const has = length >= HEADER_BYTES + ERRNO_BYTES;
      if (!has && type === TYPE.error) return { received, whole: false };
      const errno = has ? -view.getInt32(at + HEADER_BYTES, LITTLE_ENDIAN) | 0 : 0;
      received.push({ kind: type === TYPE.error ? 'answer' : 'done', sequence, errno });
    } else if (type > TYPE.overrun) {
      const interrupted = (flags & DUMP_INTERRUPTED) !== 0;
      received.push({
        kind: 'message',
        type,
        sequence,
        bytes,
        start: at + HEADER_BYTES,
        end: at + length,
        interrupted,
      });
    }
    at += align(length);
  }
  return { received, whole: at >= bytes.length };
}

/** Lengths and places of netlink are multiples of four. */
export function align(length: number): number {
  return (length + 3) & ~3;
}
