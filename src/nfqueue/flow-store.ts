import { closeSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { addLine, endLine, type KeptFlow, readRecordLine, runLine } from './flow-record-lines.ts';

/** A hundred thousand flows with large identities; a file that is longer is not this program's. */
const MAX_BYTES = 256 * 1024 * 1024;
/** The file is written anew when it has this many lines more than flows. */
const SPARE_LINES = 10_000;

/**
 * The file of verified flows: what lets connections outlive a restart of the sidecar. It is appended to and lives in memory (a tmpfs), since a
 * node that restarts has no connections either; whoever can write it can let flows live on, so it belongs to the proxy's user alone.
 */
export class FlowStore {
  /** Which run this is. */
  readonly generation: number;
  /** What the run before left. */
  readonly kept: ReadonlyMap<string, KeptFlow>;
  /** Lines that could not be read. */
  readonly unreadable: number;
  readonly #file: string;
  readonly #onProblem: (message: string) => void;
  readonly #live = new Map<string, KeptFlow>();
  #descriptor: number;
  #lines = 0;
  #unwritten: string[] = [];
  #scheduled = false;
  #broken = false;

  /**
   * @param onProblem told once when the file can no longer be written: from then on a restart cuts the flows
   * @throws UserError when the file cannot be read or made, naming it
   */
  constructor(file: string, onProblem: (message: string) => void) {
    this.#file = file;
    this.#onProblem = onProblem;
    const read = readKept(file);
    this.generation = (read.generation + 1) & 15;
    this.kept = read.flows;
    this.unreadable = read.unreadable;
    try {
      this.#descriptor = this.#begin();
    } catch (error) {
      throw unusable(file, error);
    }
  }

  /** Keeps a flow. It is in the file at the end of this turn of the event loop. */
  add(id: string, flow: KeptFlow): void {
    this.#live.set(id, flow);
    this.#write(addLine(id, flow));
  }

  /** Forgets a flow. */
  end(id: string): void {
    if (this.#live.delete(id)) this.#write(endLine(id));
  }

  close(): void {
    this.#flush();
    closeSync(this.#descriptor);
    this.#broken = true;
  }

  #write(line: string): void {
    if (this.#broken) return;
    this.#unwritten.push(line);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#broken || this.#unwritten.length === 0) return;
    const lines = this.#unwritten;
    this.#unwritten = [];
    try {
      writeWhole(this.#descriptor, lines.join(''));
      this.#lines += lines.length;
      if (this.#lines > 2 * this.#live.size + SPARE_LINES) this.#rewrite();
    } catch (error) {
      this.#broken = true;
      this.#onProblem(`--flow-state ${this.#file}: ${messageOf(error)}; a restart will cut connections`);
    }
  }

  #rewrite(): void {
    closeSync(this.#descriptor);
    this.#descriptor = this.#begin();
  }

  /** Writes what is live to a new file and puts it in the old one's place. @returns its descriptor */
  #begin(): number {
    const next = `${this.#file}.new`;
    const descriptor = openSync(next, 'w', 0o600);
    let text = runLine(this.generation);
    for (const [id, flow] of this.#live) text += addLine(id, flow);
    writeWhole(descriptor, text);
    renameSync(next, this.#file);
    this.#lines = this.#live.size + 1;
    return descriptor;
  }
}

function writeWhole(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
}

function readKept(file: string): {
  generation: number;
  flows: Map<string, KeptFlow>;
  unreadable: number;
} {
  const flows = new Map<string, KeptFlow>();
  let generation = 15;
  let unreadable = 0;
  let text: string;
  try {
    const { size, mode } = statSync(file);
    if (size > MAX_BYTES) throw new Error(`${size} bytes is more than ${MAX_BYTES}; remove it`);
    if ((mode & 0o022) !== 0) throw new Error('others may write it; make it 0600 or remove it');
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { generation, flows, unreadable };
    throw unusable(file, error);
  }
  for (const part of text.split('\n')) {
    if (part === '') continue;
    const line = readRecordLine(part);
    if (line === undefined) unreadable++;
    else if (line.kind === 'run') generation = line.generation;
    else if (line.kind === 'end') flows.delete(line.id);
    else flows.set(line.id, line.flow);
  }
  return { generation, flows, unreadable };
}

function unusable(file: string, error: unknown): UserError {
  return new UserError(`--flow-state ${file}: ${messageOf(error)}`, { exitCode: EXIT.failure, cause: error });
}
