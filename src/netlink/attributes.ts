import { LITTLE_ENDIAN } from './byte-order.ts';
import { align } from './message.ts';

const HEADER_BYTES = 4;
/** The two highest bits say `nested` and `network byte order`. */
const TYPE_MASK = 0x3fff;

/**
 * Reads the attributes between two places of what the kernel sent, one after the other; an attribute that would reach past the end ends the
 * reading. Values are read in place: no copy is made.
 */
export class AttributeReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #end: number;
  #next: number;
  /** Of the attribute that {@link next} moved to. */
  type = 0;
  start = 0;
  length = 0;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#next = start;
    this.#end = Math.min(end, bytes.length);
  }

  /** Moves to the next attribute. @returns false at the end, or where the rest is no attribute */
  next(): boolean {
    const at = this.#next;
    if (at + HEADER_BYTES > this.#end) return false;
    const length = this.#view.getUint16(at, LITTLE_ENDIAN);
    if (length < HEADER_BYTES || at + length > this.#end) return false;
    this.type = this.#view.getUint16(at + 2, LITTLE_ENDIAN) & TYPE_MASK;
    this.start = at + HEADER_BYTES;
    this.length = length - HEADER_BYTES;
    this.#next = at + align(length);
    return true;
  }

  /** The value as a number; undefined when the attribute is shorter. */
  u8(offset = 0): number | undefined {
    return this.length >= offset + 1 ? this.#view.getUint8(this.start + offset) : undefined;
  }

  u16(offset = 0): number | undefined {
    return this.length >= offset + 2 ? this.#view.getUint16(this.start + offset) : undefined;
  }

  /** In network order, as all numbers of netfilter are. */
  u32(offset = 0): number | undefined {
    return this.length >= offset + 4 ? this.#view.getUint32(this.start + offset) : undefined;
  }

  /** Counters; exact up to 2^53. */
  u64(): number | undefined {
    return this.length >= 8 ? Number(this.#view.getBigUint64(this.start)) : undefined;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(this.start, this.start + this.length);
  }

  /** The attributes inside this one. */
  nested(): AttributeReader {
    return new AttributeReader(this.#bytes, this.start, this.start + this.length);
  }
}
