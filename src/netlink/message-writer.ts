import { LITTLE_ENDIAN } from './byte-order.ts';
import { align } from './message.ts';

const NESTED = 0x8000;
const MOST_OF_ATTRIBUTE = 0xffff - 4;

/** Writes netlink messages one behind the other into one growing buffer, so that a batch costs one call of the kernel. */
export class MessageWriter {
  #bytes = new Uint8Array(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  #message = 0;

  /** Begins a message: the header of `linux/netlink.h`. {@link end} sets its length. */
  begin(type: number, flags: number, sequence: number): this {
    this.#message = this.#length;
    this.#room(16);
    this.#view.setUint16(this.#message + 4, type, LITTLE_ENDIAN);
    this.#view.setUint16(this.#message + 6, flags, LITTLE_ENDIAN);
    this.#view.setUint32(this.#message + 8, sequence, LITTLE_ENDIAN);
    return this;
  }

  end(): this {
    this.#view.setUint32(this.#message, this.#length - this.#message, LITTLE_ENDIAN);
    this.#room(align(this.#length) - this.#length);
    return this;
  }

  /** The header of `linux/netfilter/nfnetlink.h` behind that of netlink; `resource` is the number of a queue. */
  netfilter(family: number, resource = 0): this {
    const at = this.#room(4);
    this.#view.setUint8(at, family);
    this.#view.setUint16(at + 2, resource);
    return this;
  }

  /** Bytes that are no attribute. */
  raw(bytes: Uint8Array): this {
    // The place first: making room may replace the buffer.
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  u8(type: number, value: number): this {
    const at = this.#attribute(type, 1);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(type: number, value: number): this {
    const at = this.#attribute(type, 2);
    this.#view.setUint16(at, value);
    return this;
  }

  /** In network order. */
  u32(type: number, value: number): this {
    const at = this.#attribute(type, 4);
    this.#view.setUint32(at, value >>> 0);
    return this;
  }

  /** Two numbers in network order, as in the header of a verdict. */
  u32Pair(type: number, first: number, second: number): this {
    const at = this.#attribute(type, 8);
    this.#view.setUint32(at, first >>> 0);
    this.#view.setUint32(at + 4, second >>> 0);
    return this;
  }

  bytes(type: number, value: Uint8Array): this {
    if (value.length > MOST_OF_ATTRIBUTE)
      throw new RangeError('an attribute of netlink has at most 65531 bytes');
    const at = this.#attribute(type, value.length);
    this.#bytes.set(value, at);
    return this;
  }

  nested(type: number, write: (writer: this) => void): this {
    const at = this.#room(4);
    this.#view.setUint16(at + 2, type | NESTED, LITTLE_ENDIAN);
    write(this);
    this.#view.setUint16(at, this.#length - at, LITTLE_ENDIAN);
    return this;
  }

  get length(): number {
    return this.#length;
  }

  /** What was written since the last call. It is overwritten by what is written next: send it at once, or copy it. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    return taken;
  }

  #attribute(type: number, length: number): number {
    const at = this.#room(align(4 + length));
    this.#view.setUint16(at, 4 + length, LITTLE_ENDIAN);
    this.#view.setUint16(at + 2, type, LITTLE_ENDIAN);
    return at + 4;
  }

  /** @returns where the new bytes begin; they are zero */
  #room(length: number): number {
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#bytes.fill(0, at, this.#length);
    return at;
  }
}
