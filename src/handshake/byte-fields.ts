import { carvedBytes } from '../lib/carved-bytes.ts';

/** Numbers and bytes in network order: the writing half as functions, the reading half as a {@link ByteReader}. */

const EMPTY = new Uint8Array(0);

/** Two bytes, big-endian. */
export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

/** Eight bytes, big-endian. */
export function u64(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value);
  return bytes;
}

/** The parts one after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = carvedBytes(length);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Reads forward and remembers the first failure, so that a decoder checks bounds in one place. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #offset: number;
  failure: string | undefined;

  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes;
    this.#offset = offset;
  }

  get failed(): boolean {
    return this.failure !== undefined;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  fail(what: string): undefined {
    this.failure ??= what;
    return undefined;
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? EMPTY : this.#bytes.subarray(at, at + length);
  }

  u8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : this.#bytes[at]!;
  }

  u16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : this.#bytes[at]! * 256 + this.#bytes[at + 1]!;
  }

  u32(): number {
    return this.u16() * 65536 + this.u16();
  }

  u64(): bigint {
    return BigInt(this.u32()) * 4294967296n + BigInt(this.u32());
  }

  /** @returns where the next bytes begin; -1 when there are not so many */
  #take(length: number): number {
    const at = this.#offset;
    if (this.#bytes.length - at < length) {
      this.fail('truncated');
      return -1;
    }
    this.#offset = at + length;
    return at;
  }
}
