import type { Socket } from 'node:net';
import { FrameFormat } from './data-path.ts';

/** What the bytes of a side are as a preamble frame, as far as they have come. */
export type FrameReading =
  | { readonly kind: 'frame'; readonly frame: Uint8Array }
  | { readonly kind: 'notFrame'; readonly bytes: Uint8Array; readonly endOfFile: boolean }
  | { readonly kind: 'tooLarge'; readonly announced: number };

/** So much is read ahead of whoever wants it; then the socket is paused. */
const READ_AHEAD = 128 * 1024;

/**
 * One side of a connection on a `net.Socket`: what the peer has sent and nobody has taken yet, and how it ended. Reads ahead by a
 * bounded amount, since a socket of Node tells an end or a reset only to who reads.
 */
export class SocketSide {
  readonly socket: Socket;
  ended = false;
  wasReset = false;
  /** Our end has been sent. */
  finished = false;
  #unread: Buffer[] = [];
  #length = 0;

  constructor(socket: Socket, onChange: () => void) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      this.#unread.push(bytes);
      this.#length += bytes.length;
      if (this.#length >= READ_AHEAD) socket.pause();
      onChange();
    });
    socket.on('end', () => {
      this.ended = true;
      onChange();
    });
    socket.on('error', () => {
      this.wasReset = true;
      onChange();
    });
    socket.on('drain', onChange);
  }

  get length(): number {
    return this.#length;
  }

  /** Whether the socket takes more without piling it up. */
  get writable(): boolean {
    return !this.socket.destroyed && !this.socket.writableNeedDrain;
  }

  /** Whether more bytes may still come. */
  get isOver(): boolean {
    return this.ended || this.wasReset || this.socket.destroyed;
  }

  /** Up to so many unread bytes, which stay unread. */
  peek(length: number): Buffer {
    if (this.#unread.length > 1) this.#unread = [Buffer.concat(this.#unread)];
    return (this.#unread[0] ?? Buffer.alloc(0)).subarray(0, length);
  }

  take(length = this.#length): Buffer {
    const taken = this.peek(length);
    const rest = this.#unread[0]?.subarray(taken.length);
    this.#unread = rest === undefined || rest.length === 0 ? [] : [rest];
    this.#length -= taken.length;
    if (this.#length < READ_AHEAD && !this.isOver) this.socket.resume();
    return taken;
  }

  /** Ends the direction towards the peer. */
  finish(): void {
    if (this.finished) return;
    this.finished = true;
    this.socket.end();
  }

  /** Whether all unread bytes are a beginning of the magic; true for none. */
  get mayBecomeMagic(): boolean {
    const magic = Buffer.from(FrameFormat.magic);
    const first = this.peek(magic.length);
    return first.equals(magic.subarray(0, first.length));
  }

  /** Takes one frame; undefined while more bytes are needed to know. */
  readFrame(maxBytes: number): FrameReading | undefined {
    const { headerBytes, lengthOffset } = FrameFormat;
    const header = this.peek(headerBytes);
    if (!this.mayBecomeMagic) return { kind: 'notFrame', bytes: header, endOfFile: false };
    if (header.length === headerBytes) {
      const total = headerBytes + header.readUInt16BE(lengthOffset);
      if (total > maxBytes) return { kind: 'tooLarge', announced: total };
      if (this.#length >= total) return { kind: 'frame', frame: Uint8Array.from(this.take(total)) };
    }
    return this.isOver ? { kind: 'notFrame', bytes: header, endOfFile: true } : undefined;
  }
}
