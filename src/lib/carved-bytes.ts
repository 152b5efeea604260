/** What one ArrayBuffer has room for. */
const SLAB_BYTES = 65_536;
/** More is given an ArrayBuffer of its own: it would waste the rest of a slab. */
const MOST_CARVED = SLAB_BYTES / 8;

let slab = new ArrayBuffer(SLAB_BYTES);
let taken = 0;

/**
 * As `new Uint8Array(length)`: zeros, that nobody else has or had. But many share one ArrayBuffer, so that the collector has one object with memory
 * outside of its heap to look after instead of hundreds. For frames and packets, which are made by the thousand and live about equally long: the
 * ArrayBuffer stays as long as one of them does. `bytes.buffer` is not theirs alone; `byteOffset` says where they begin.
 */
export function carvedBytes(length: number): Uint8Array {
  if (length > MOST_CARVED) return new Uint8Array(length);
  if (taken + length > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    taken = 0;
  }
  const bytes = new Uint8Array(slab, taken, length);
  taken += length;
  return bytes;
}
