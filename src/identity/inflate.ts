/**
 * DEFLATE (RFC 1951) with a preset dictionary, strict and small: the one encoding of strangers' bytes that is read before a signature is looked
 * at. Same language as zlib's inflate, but that nothing may follow the stream, that the bits which it leaves over in its last byte are zero,
 * and that both its output and its blocks are bounded. For a token of half a kilobyte zlib sets up a stream and a window of 32 KiB, which costs more than the rest.
 */

/** More than any encoder makes of a token; each may announce codes that take time to read. */
const MOST_BLOCKS = 32;

const MAX_CODE_BITS = 15;
const MAX_LITERAL_CODES = 286;
const MAX_DISTANCE_CODES = 30;
const END_OF_BLOCK = 256;

/** Section 3.2.5: lengths and distances, each a base and a number of extra bits. */
const LENGTH_BASE = Uint16Array.of(
  ...[
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
  ],
  ...[227, 258],
);
const LENGTH_EXTRA = Uint8Array.of(
  ...[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0],
);
const DISTANCE_BASE = Uint16Array.of(
  ...[1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073],
  ...[4097, 6145, 8193, 12289, 16385, 24577],
);
const DISTANCE_EXTRA = Uint8Array.of(
  ...[0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13],
);
/** Section 3.2.7: the order in which the lengths of the code length code stand. */
const CODE_LENGTH_ORDER = Uint8Array.of(
  ...[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15],
);

/** A Huffman code as section 3.2.2 makes it of lengths alone: how many codes have each length, and the symbols in the order of their codes. */
interface Code {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

function emptyCode(mostSymbols: number): Code {
  return { counts: new Uint16Array(MAX_CODE_BITS + 1), symbols: new Uint16Array(mostSymbols) };
}

/** What is no DEFLATE stream. Never leaves this file, and so needs no stack. */
const MALFORMED = new Error('no DEFLATE stream');

/** Inflates short streams that begin with the same dictionary. */
export class Inflater {
  readonly #dictionary: number;
  /** The dictionary, and behind it what comes out: distances reach back into it as into output. Used anew by every call. */
  readonly #window: Uint8Array;
  readonly #lengths = new Uint8Array(MAX_LITERAL_CODES + MAX_DISTANCE_CODES);
  /** Those of one block after the other: new ones each time would be a twentieth of all that a first contact leaves for the collector. */
  readonly #lengthCode = emptyCode(CODE_LENGTH_ORDER.length);
  readonly #literalCode = emptyCode(MAX_LITERAL_CODES);
  readonly #distanceCode = emptyCode(MAX_DISTANCE_CODES);
  #input: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** Bits that were taken from the input and not used yet, the next one lowest. */
  #bits = 0;
  #bitCount = 0;
  #out = 0;

  /** @param maxBytes most that a stream may inflate to */
  constructor(dictionary: Uint8Array, maxBytes: number) {
    this.#dictionary = dictionary.length;
    this.#window = new Uint8Array(dictionary.length + maxBytes);
    this.#window.set(dictionary);
  }

  /** @returns what the stream inflates to; undefined for bytes that are not exactly one stream within the bounds */
  inflate(deflated: Uint8Array): Uint8Array | undefined {
    this.#input = deflated;
    this.#at = this.#bits = this.#bitCount = 0;
    this.#out = this.#dictionary;
    try {
      for (let blocks = 1; !this.#block(); blocks++) if (blocks === MOST_BLOCKS) return undefined;
    } catch (error) {
      if (error === MALFORMED) return undefined;
      throw error;
    }
    const isWhole = this.#at === deflated.length && this.#bits === 0;
    return isWhole ? this.#window.slice(this.#dictionary, this.#out) : undefined;
  }

  /** @returns whether it was the last one */
  #block(): boolean {
    const last = this.#take(1) === 1;
    const type = this.#take(2);
    if (type === 0) this.#stored();
    else if (type === 1) this.#compressed(FIXED.literals, FIXED.distances);
    else if (type === 2) this.#dynamic();
    else throw MALFORMED;
    return last;
  }

  #stored(): void {
    // The rest of this byte is skipped.
    this.#bits = this.#bitCount = 0;
    const input = this.#input;
    const length = input[this.#at]! | (input[this.#at + 1]! << 8);
    const complement = input[this.#at + 2]! | (input[this.#at + 3]! << 8);
    this.#at += 4;
    if (this.#at + length > input.length || length !== (~complement & 0xffff)) throw MALFORMED;
    if (this.#out + length > this.#window.length) throw MALFORMED;
    this.#window.set(input.subarray(this.#at, this.#at + length), this.#out);
    this.#at += length;
    this.#out += length;
  }

  #dynamic(): void {
    const literals = this.#take(5) + 257;
    const distances = this.#take(5) + 1;
    const codeLengths = this.#take(4) + 4;
    if (literals > MAX_LITERAL_CODES || distances > MAX_DISTANCE_CODES) throw MALFORMED;
    const lengths = this.#lengths.fill(0, 0, CODE_LENGTH_ORDER.length);
    for (let index = 0; index < codeLengths; index++) lengths[CODE_LENGTH_ORDER[index]!] = this.#take(3);
    const lengthCode = this.#lengthCode;
    makeCode(lengthCode, lengths, 0, CODE_LENGTH_ORDER.length, false);
    const all = literals + distances;
    for (let index = 0; index < all;) {
      const symbol = this.#symbol(lengthCode);
      if (symbol < 16) {
        lengths[index++] = symbol;
        continue;
      }
      if (symbol === 16 && index === 0) throw MALFORMED;
      const length = symbol === 16 ? lengths[index - 1]! : 0;
      const times =
        symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (index + times > all) throw MALFORMED;
      lengths.fill(length, index, index + times);
      index += times;
    }
    if (lengths[END_OF_BLOCK] === 0) throw MALFORMED;
    makeCode(this.#literalCode, lengths, 0, literals, true);
    makeCode(this.#distanceCode, lengths, literals, all, true);
    this.#compressed(this.#literalCode, this.#distanceCode);
  }

  #compressed(literals: Code, distances: Code): void {
    const window = this.#window;
    for (;;) {
      const symbol = this.#symbol(literals);
      if (symbol < END_OF_BLOCK) {
        if (this.#out === window.length) throw MALFORMED;
        window[this.#out++] = symbol;
        continue;
      }
      if (symbol === END_OF_BLOCK) return;
      const kind = symbol - END_OF_BLOCK - 1;
      if (kind >= LENGTH_BASE.length) throw MALFORMED;
      const length = LENGTH_BASE[kind]! + this.#take(LENGTH_EXTRA[kind]!);
      const far = this.#symbol(distances);
      if (far >= MAX_DISTANCE_CODES) throw MALFORMED;
      const distance = DISTANCE_BASE[far]! + this.#take(DISTANCE_EXTRA[far]!);
      if (distance > this.#out || this.#out + length > window.length) throw MALFORMED;
      // Byte by byte: what is copied may be what was just written.
      for (let end = this.#out + length; this.#out < end; this.#out++) {
        window[this.#out] = window[this.#out - distance]!;
      }
    }
  }

  /** Section 3.1.1: the least significant bit of a byte comes first. */
  #take(count: number): number {
    while (this.#bitCount < count) {
      if (this.#at === this.#input.length) throw MALFORMED;
      this.#bits |= this.#input[this.#at++]! << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  /** Codes come from their most significant bit on; those of one length are consecutive numbers. */
  #symbol({ counts, symbols }: Code): number {
    let [code, first, index] = [0, 0, 0];
    for (let length = 1; length <= MAX_CODE_BITS; length++) {
      if (this.#bitCount === 0) {
        if (this.#at === this.#input.length) throw MALFORMED;
        this.#bits = this.#input[this.#at++]!;
        this.#bitCount = 8;
      }
      code |= this.#bits & 1;
      this.#bits >>>= 1;
      this.#bitCount--;
      const count = counts[length]!;
      if (code < first + count) return symbols[index + code - first]!;
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw MALFORMED;
  }
}

/** Where the symbols of each length begin, while a code is made. */
const OFFSETS = new Uint16Array(MAX_CODE_BITS + 2);

/**
 * Section 3.2.2: the code of the lengths from `from` to `to`, written to `code`. Refuses lengths that are no code: more codes than there is room for, or fewer
 * than would fill it. As in zlib one code of one bit, or none at all, is let be where `mayBeEmpty`: the distances of a block without copies.
 */
function makeCode(
  { counts, symbols }: Code,
  lengths: Uint8Array,
  from: number,
  to: number,
  mayBeEmpty: boolean,
): void {
  counts.fill(0);
  for (let index = from; index < to; index++) counts[lengths[index]!]!++;
  counts[0] = 0;
  let left = 1;
  let used = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length++) {
    left = (left << 1) - counts[length]!;
    if (left < 0) throw MALFORMED;
    used += counts[length]!;
  }
  const isSparse = used === 0 || (used === 1 && counts[1] === 1);
  if (left > 0 && !(isSparse && (mayBeEmpty || used === 0))) throw MALFORMED;
  OFFSETS[1] = 0;
  for (let length = 1; length <= MAX_CODE_BITS; length++)
    OFFSETS[length + 1] = OFFSETS[length]! + counts[length]!;
  // By index: iterating would allocate more than the whole rest of a handshake.
  for (let index = from; index < to; index++) {
    const length = lengths[index]!;
    if (length !== 0) symbols[OFFSETS[length]!++] = index - from;
  }
}

/** Section 3.2.6. */
const FIXED = {
  literals: codeOf(
    Uint8Array.from({ length: 288 }, (_, symbol) =>
      symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8,
    ),
  ),
  distances: codeOf(new Uint8Array(32).fill(5)),
};

function codeOf(lengths: Uint8Array): Code {
  const code = emptyCode(lengths.length);
  makeCode(code, lengths, 0, lengths.length, false);
  return code;
}
