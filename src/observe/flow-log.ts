import { closeSync, fstatSync, openSync, statSync, write } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';

/** What may wait to be written. More is dropped and counted: a slow disk must not eat the pod's memory. */
const MAX_PENDING_BYTES = 4 << 20;
/** How often a file is compared with its name, in case somebody rotated it. */
const ROTATION_CHECK_MS = 5_000;

/** Where flow records go: a file that is appended to, or standard output. */
export class FlowLog {
  readonly #file: string;
  readonly #onDropped: (count: number) => void;
  readonly #timer: NodeJS.Timeout | undefined;
  #descriptor: number;
  #pending: string[] = [];
  #pendingBytes = 0;
  #writing = false;
  #idle: (() => void) | undefined;

  /** @param file a path, or `-` for standard output. Throws a `UserError` when it cannot be opened. */
  constructor(file: string, onDropped: (count: number) => void) {
    this.#file = file;
    this.#onDropped = onDropped;
    this.#descriptor = file === '-' ? 1 : open(file);
    if (file !== '-') {
      this.#timer = setInterval(() => this.#followRotation(), ROTATION_CHECK_MS);
      this.#timer.unref();
    }
  }

  /** Writes a line, soon and in order. */
  write(line: string): void {
    if (this.#pendingBytes + line.length > MAX_PENDING_BYTES) {
      this.#onDropped(1);
      return;
    }
    this.#pending.push(line);
    this.#pendingBytes += line.length;
    if (!this.#writing) this.#flush();
  }

  /** Opens the file anew under its name. */
  reopen(): void {
    if (this.#file === '-') return;
    try {
      const descriptor = open(this.#file);
      const old = this.#descriptor;
      this.#descriptor = descriptor;
      // A write on the way may still use the old one.
      setTimeout(() => closeSync(old), 1_000).unref();
    } catch {
      // What is open goes on being written; the next check tries again.
    }
  }

  /** Waits until everything is written. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#writing) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    if (this.#file !== '-') closeSync(this.#descriptor);
  }

  #flush(): void {
    if (this.#pending.length === 0) {
      this.#writing = false;
      this.#idle?.();
      return;
    }
    this.#writing = true;
    const lines = this.#pending.length;
    const bytes = Buffer.from(`${this.#pending.join('\n')}\n`);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#writeAll(bytes, lines);
  }

  #writeAll(bytes: Buffer, lines: number): void {
    write(this.#descriptor, bytes, (error, written) => {
      if (error?.message.startsWith('EAGAIN') === true) {
        setTimeout(() => this.#writeAll(bytes, lines), 10);
        return;
      }
      if (error !== null) this.#onDropped(lines);
      else if (written < bytes.length) {
        this.#writeAll(bytes.subarray(written), lines);
        return;
      }
      this.#flush();
    });
  }

  #followRotation(): void {
    try {
      const [named, opened] = [statSync(this.#file), fstatSync(this.#descriptor)];
      if (named.ino === opened.ino && named.dev === opened.dev) return;
    } catch {
      // Its name is gone.
    }
    this.reopen();
  }
}

function open(file: string): number {
  try {
    return openSync(file, 'a', 0o640);
  } catch (error) {
    throw new UserError(`--flow-log ${file}: ${messageOf(error)}`);
  }
}
