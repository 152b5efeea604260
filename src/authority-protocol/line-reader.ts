/** Cuts a stream of bytes into lines, none longer than a bound. */
export class LineReader {
  readonly #most: number;
  #parts: Buffer[] = [];
  #size = 0;

  constructor(mostBytes: number) {
    this.#most = mostBytes;
  }

  /** The lines that end in this chunk; undefined when one is too long: nothing can be read any more then. */
  push(chunk: Buffer): string[] | undefined {
    const lines: string[] = [];
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      this.#size += part.length;
      if (this.#size > this.#most) return undefined;
      if (part.length > 0) this.#parts.push(part);
      if (end < 0) return lines;
      if (this.#size > 0) lines.push(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      this.#size = 0;
      from = end + 1;
    }
  }
}
