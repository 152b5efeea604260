import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Whom to call, and for how long an answer is waited for. */
export interface CallOptions {
  readonly host: string;
  readonly port: number;
  readonly localPort: number | undefined;
  readonly timeoutMs: number;
}

/** What {@link Caller} has run where it calls from: with Node.js, in a namespace and as a user. */
export const CALLING_PROGRAM = `
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [id, { timeoutMs, ...options }] = JSON.parse(line);
  const socket = require('node:net').connect(options);
  let word;
  const timer = setTimeout(() => { word ??= 'silence'; socket.destroy(); }, timeoutMs);
  socket.on('data', (data) => (word ??= String(data))).on('error', ({ code }) => (word ??= code))
    .on('close', () => { clearTimeout(timer); console.log(JSON.stringify([id, word ?? 'end'])); });
});`;

/** Makes calls by a process that stays: starting one for each would be most of what a test of rules costs. */
export class Caller {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { hear: (word: string) => void; fail: (why: Error) => void }>();
  #calls = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    let complaint = '';
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    // Written to a process that has ended; its calls fail below.
    child.stdin!.on('error', () => {});
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const [id, word] = JSON.parse(line) as [number, string];
      this.#waiting.get(id)!.hear(word);
      this.#waiting.delete(id);
    });
    child.once('close', () => {
      for (const { fail } of this.#waiting.values()) fail(new Error(`the caller ended: ${complaint}`));
    });
  }

  /** @returns the first word of who answers, once the connection is over; an error's code; `silence`, or `end` without a word */
  call(options: CallOptions): Promise<string> {
    const id = this.#calls++;
    return new Promise((hear, fail) => {
      this.#waiting.set(id, { hear, fail });
      this.#child.stdin!.write(`${JSON.stringify([id, options])}\n`);
    });
  }
}
