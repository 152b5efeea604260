import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

/** A process of the benchmark. Whatever it sends is remembered until somebody waits for it, or told to `onMessage`. */
export class Child<To extends object, From extends { readonly kind: string }> {
  readonly #process: ChildProcess;
  readonly #name: string;
  #arrived: From[] = [];
  #wake = (): void => {};
  #ended: string | undefined;

  constructor(file: string, onMessage: (message: From) => boolean = () => false) {
    this.#name = file;
    this.#process = fork(join(import.meta.dirname, file), { execArgv: ['--expose-gc'] });
    this.#process.on('message', (message: From) => {
      if (onMessage(message)) return;
      this.#arrived.push(message);
      this.#wake();
    });
    this.#process.once('exit', (code, signal) => {
      this.#ended = `${file} ended (${signal ?? code})`;
      this.#wake();
    });
  }

  tell(message: To): void {
    this.#process.send(message);
  }

  /** The next message of a kind. Rejects when the process says that it failed, ends, or takes longer than ten minutes. */
  async next<K extends From['kind']>(kind: K): Promise<Extract<From, { kind: K }>> {
    const deadline = Date.now() + 600_000;
    for (;;) {
      const failed = this.#arrived.find((message) => message.kind === 'failed');
      if (failed !== undefined) throw new Error(`${this.#name}: ${(failed as { why?: string }).why}`);
      const found = this.#arrived.find((message) => message.kind === kind);
      if (found !== undefined) {
        this.#arrived = this.#arrived.filter((message) => message !== found);
        return found as Extract<From, { kind: K }>;
      }
      if (this.#ended !== undefined) throw new Error(this.#ended);
      if (Date.now() > deadline) throw new Error(`${this.#name} does not say: ${kind}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends it, and waits for that. */
  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }
}
