/**
 * What NFQUEUE mode writes into marks: eight bits that belong to it, a kind and a generation. Other bits belong to others and are kept.
 *
 * | kind | connmark or packet mark | means                                                                  |
 * | ---- | ----------------------- | ---------------------------------------------------------------------- |
 * | 0xc  | both, with 5            | opened by the proxy, as in redirect mode                               |
 * | 0xd  | connmark                | verified: not queued but for SYN; the generation tells which run did it |
 * | 0xe  | packet mark             | this opening packet goes to the proxy's listener (stream carrier)      |
 * | 0xf  | packet mark             | accepted by a verdict: the filter rules refuse what bears no mark       |
 */
export const MARK_KIND = { own: 0xc, verified: 0xd, stream: 0xe, accepted: 0xf } as const;

/** The bits, where nobody asks for others: those of redirect mode. */
export const DEFAULT_MARK_MASK = 0x0ff0_0000;

/** A mark in the bits of a mask. */
export interface MarkMatch {
  readonly value: number;
  readonly mask: number;
}

/** The marks in the eight bits of a mask. */
export class Marks {
  /** All eight bits. */
  readonly mask: number;
  /** The proxy's own connections: all eight bits. */
  readonly own: MarkMatch;
  /** A verified connection, of whatever generation: four bits. */
  readonly anyVerified: MarkMatch;
  /** An opening packet for the listener: four bits. */
  readonly stream: MarkMatch;
  /** A packet that a verdict let pass: four bits. */
  readonly accepted: MarkMatch;
  readonly #shift: number;

  /** @throws RangeError when the mask is not eight bits in a row */
  constructor(mask: number = DEFAULT_MARK_MASK) {
    const shift = 31 - Math.clz32(mask & -mask);
    if (mask >>> shift !== 0xff) {
      throw new RangeError(`mark mask 0x${(mask >>> 0).toString(16)}: has to be eight bits in a row`);
    }
    this.mask = mask >>> 0;
    this.#shift = shift;
    const kind = (0xf0 << shift) >>> 0;
    this.own = { value: this.#at(MARK_KIND.own, 5), mask: this.mask };
    this.anyVerified = { value: this.#at(MARK_KIND.verified, 0), mask: kind };
    this.stream = { value: this.#at(MARK_KIND.stream, 0), mask: kind };
    this.accepted = { value: this.#at(MARK_KIND.accepted, 0), mask: kind };
  }

  /** The mark of a connection that the run with this generation (0 to 15) verified. */
  verified(generation: number): number {
    return this.#at(MARK_KIND.verified, generation & 15);
  }

  /** Which run verified a connection with this mark; undefined when none did. */
  generationOf(mark: number): number | undefined {
    const bits = (mark & this.mask) >>> this.#shift;
    return bits >>> 4 === MARK_KIND.verified ? bits & 15 : undefined;
  }

  /** A packet's mark with `stream` in the own bits and the others as they were. */
  withStream(mark: number): number {
    return ((mark & ~this.mask) | this.stream.value) >>> 0;
  }

  /** The mark of a packet that passes: `stream` stays, any other kind becomes `accepted`. */
  withAccepted(mark: number): number {
    if ((mark & this.stream.mask) >>> 0 === this.stream.value) return mark >>> 0;
    return ((mark & ~this.mask) | this.accepted.value) >>> 0;
  }

  #at(kind: number, low: number): number {
    return (((kind << 4) | low) << this.#shift) >>> 0;
  }
}
