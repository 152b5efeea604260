/** The largest object that etcd takes is 1.5 MiB; as JSON with all its escapes it stays below this. */
const MOST_LINE_BYTES = 16 << 20;

/** Cuts a stream into lines. Bounded: a stream without line ends is an error before it fills the memory. */
export class LineSplitter {
  #rest: Buffer[] = [];
  #bytes = 0;
  readonly #most: number;

  constructor(mostBytes = MOST_LINE_BYTES) {
    this.#most = mostBytes;
  }

  /** The lines that end in this chunk, without their ends; empty ones are left out. Throws when a line is too long. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      const line = this.#take(chunk.subarray(from, at));
      if (line !== '') lines.push(line);
      from = at + 1;
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from));
    return lines;
  }

  /** Bytes of a line that has not ended. At the end of the stream they are what was cut off. */
  get pending(): number {
    return this.#bytes;
  }

  #keep(part: Buffer): void {
    this.#rest.push(part);
    this.#bytes += part.length;
    if (this.#bytes > this.#most) throw new Error(`a line of more than ${this.#most} bytes`);
  }

  #take(part: Buffer): string {
    if (this.#bytes === 0) return part.toString('utf8');
    this.#keep(part);
    const line = Buffer.concat(this.#rest).toString('utf8');
    this.#rest = [];
    this.#bytes = 0;
    return line;
  }
}
