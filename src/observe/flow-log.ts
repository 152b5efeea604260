import { messageOf, UserError } from '../errors.ts';
import { inheritedOutput, type LogOutput, openFileOutput } from './log-output.ts';

/** Characters that may wait or be on their way. More is dropped and counted: a slow disk must not eat the pod's memory. */
const MAX_PENDING = 4 << 20;
/** How often, at most, a file is compared with its name, in case somebody rotated it. */
const ROTATION_CHECK_MS = 1_000;
/** A named pipe that nobody reads is tried again after so long. */
const RETRY_MS = 20;
/** How long the end of the process waits for a reader that does not read. */
const CLOSE_MS = 2_000;

/**
 * Where flow records go: a file that is appended to, or standard output. A line is written as soon as the one before it has been, whole and
 * in order; nobody waits for it. What could not be written is counted, and never leaves a broken line that swallows the next.
 */
export class FlowLog {
  readonly #file: string;
  readonly #onDropped: (count: number) => void;
  #output: LogOutput;
  #pending: string[] = [];
  /** Characters of `#pending` and of what is being written. */
  #held = 0;
  #writing = false;
  #reopen = false;
  #checkedAt = performance.now();
  /** The last line written was cut off. */
  #torn = false;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #idle: (() => void) | undefined;

  /** @param file a path, or `-` for standard output. Throws a `UserError` when it cannot be opened. */
  constructor(file: string, onDropped: (count: number) => void) {
    this.#file = file;
    this.#onDropped = onDropped;
    try {
      this.#output = file === '-' ? inheritedOutput(1) : openFileOutput(file);
    } catch (error) {
      throw new UserError(
        `--flow-log ${file}: ${messageOf(error)}; name a file in a folder that uid ${process.getuid?.()} may write to, or - for standard output`,
        { cause: error },
      );
    }
  }

  /** Writes a line, soon and in order, unless too many wait already or the log is closed. */
  write(line: string): void {
    if (this.#state !== 'open' || this.#held + line.length > MAX_PENDING) {
      this.#onDropped(1);
      return;
    }
    this.#pending.push(line);
    this.#held += line.length;
    if (!this.#writing) this.#flush();
  }

  /** Opens the file anew under its name: the answer to SIGHUP. */
  reopen(): void {
    this.#reopen = true;
    // Never under a write: the number of a closed descriptor may be a pod's connection a moment later.
    if (!this.#writing) this.#followName();
  }

  /** Waits until everything is written, for two seconds at most; what is left then is counted as dropped. */
  async close(): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'closing';
    if (this.#writing) {
      const timer = setTimeout(() => this.#idle?.(), CLOSE_MS);
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
      clearTimeout(timer);
    }
    this.#state = 'closed';
    if (this.#pending.length > 0) this.#onDropped(this.#pending.length);
    this.#pending = [];
    if (this.#writing) this.#output.abandon();
    else this.#output.close();
  }

  #flush(): void {
    this.#writing = false;
    if (this.#pending.length === 0 || this.#state === 'closed') {
      this.#idle?.();
      return;
    }
    this.#followName();
    this.#writing = true;
    const bytes = Buffer.from(`${this.#torn ? '\n' : ''}${this.#pending.join('\n')}\n`);
    const held = this.#held;
    this.#pending = [];
    this.#torn = false;
    this.#writeAll(bytes, () => {
      this.#held -= held;
      this.#flush();
    });
  }

  #writeAll(bytes: Buffer, done: () => void): void {
    this.#output.write(bytes, (error, written) => {
      if (error?.code === 'EAGAIN' && this.#state !== 'closed') {
        setTimeout(() => this.#writeAll(bytes, done), RETRY_MS);
      } else if (error !== null) {
        this.#onDropped(lines(bytes));
        done();
      } else if (written < bytes.length) {
        this.#torn = bytes[written - 1] !== 0x0a;
        this.#writeAll(bytes.subarray(written), done);
      } else {
        this.#torn = false;
        done();
      }
    });
  }

  #followName(): void {
    if (this.#file === '-') return;
    const now = performance.now();
    if (!this.#reopen && now - this.#checkedAt < ROTATION_CHECK_MS) return;
    this.#checkedAt = now;
    if (!this.#reopen && this.#output.isNamed(this.#file)) return;
    try {
      const old = this.#output;
      this.#output = openFileOutput(this.#file);
      old.close();
      this.#reopen = false;
      this.#torn = false;
    } catch {
      // What is open goes on being written; the next check tries again.
    }
  }
}

function lines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) count++;
  return count;
}
