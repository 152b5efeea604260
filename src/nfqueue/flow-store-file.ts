import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { addLine, endLine, type KeptFlow, PeerNumbers, runLine } from './flow-record-lines.ts';

/** What happened to a flow. Without one: it has ended. */
export interface FlowChange {
  readonly id: string;
  readonly flow?: KeptFlow;
}

/** Lines are handed over in pieces of about so many characters: one large text would have its own megabytes made for it each time. */
const PIECE = 16 * 1024;
/** UTF-8 of one UTF-16 unit, at most. */
const MOST_BYTES_EACH = 3;
/** For a piece and the line that made it full, unless that is uncommonly long. */
const room = Buffer.allocUnsafeSlow(2 * PIECE * MOST_BYTES_EACH);

/** One file of verified flows that is being written, with the numbers that it has given to peers. */
export class FlowFile {
  readonly path: string;
  readonly #descriptor: number;
  readonly #peers = new PeerNumbers();
  #bytes = 0;

  /**
   * Begins a file, instead of whatever has this name.
   * @throws Error of the file system; there is none then, unless it could not even be opened
   */
  constructor(path: string, generation: number) {
    this.path = path;
    this.#descriptor = openSync(path, 'w', 0o600);
    try {
      this.#write(runLine(generation));
    } catch (error) {
      this.close();
      rmSync(path, { force: true });
      throw error;
    }
  }

  /** How long it is. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws Error of the file system; what is there then may end within a line */
  append(changes: Iterable<FlowChange>): void {
    let text = '';
    for (const { id, flow } of changes) {
      text += flow === undefined ? endLine(id) : addLine(id, flow, this.#peers);
      if (text.length < PIECE) continue;
      this.#write(text);
      text = '';
    }
    if (text !== '') this.#write(text);
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #write(text: string): void {
    const fits = text.length * MOST_BYTES_EACH <= room.length;
    const bytes = fits ? room.subarray(0, room.write(text)) : Buffer.from(text);
    for (let at = 0; at < bytes.length;) at += writeSync(this.#descriptor, bytes, at);
    this.#bytes += bytes.length;
  }
}
