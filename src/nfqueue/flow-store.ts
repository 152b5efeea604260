import {
  closeSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { addLine, endLine, type KeptFlow, PeerNumbers, RecordReader, runLine } from './flow-record-lines.ts';

/** A hundred thousand flows with large identities; a file that is longer is not this program's. */
const MAX_BYTES = 256 * 1024 * 1024;
/** The file is written anew when it is twice as long as it was then, and this much longer. */
const SPARE_BYTES = 1 << 20;

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
  /** Undefined: there is no file, and a restart cuts every flow. */
  #descriptor: number | undefined;
  #peers = new PeerNumbers();
  #bytes = 0;
  #rewriteAt = 0;
  /** Flows there were when there was no space for them; below half of it there is another try. */
  #tooMany = 0;
  /** Without a flow: it has ended. Lines are made when they are written, since a packet waits for its verdict until {@link add} returns. */
  #unwritten: { readonly id: string; readonly flow?: KeptFlow }[] = [];
  #scheduled = false;
  #closed = false;

  /**
   * @param onProblem told when the file can no longer be written: until it can again a restart cuts the flows
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
      this.#begin();
    } catch (error) {
      throw unusable(file, error);
    }
  }

  /** Keeps a flow. It is in the file at the end of this turn of the event loop. */
  add(id: string, flow: KeptFlow): void {
    this.#live.set(id, flow);
    if (this.#descriptor !== undefined) this.#write({ id, flow });
  }

  /** Forgets a flow. */
  end(id: string): void {
    if (!this.#live.delete(id)) return;
    if (this.#descriptor !== undefined) this.#write({ id });
    else if (this.#live.size < this.#tooMany / 2) this.#tryAgain();
  }

  close(): void {
    this.#flush();
    this.#closed = true;
    this.#closeFile();
  }

  #write(change: { readonly id: string; readonly flow?: KeptFlow }): void {
    this.#unwritten.push(change);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#descriptor === undefined || this.#unwritten.length === 0) return;
    const changes = this.#unwritten;
    this.#unwritten = [];
    try {
      let text = '';
      for (const { id, flow } of changes) {
        text += flow === undefined ? endLine(id) : addLine(id, flow, this.#peers);
      }
      this.#append(text);
      if (this.#bytes > this.#rewriteAt) this.#begin();
    } catch {
      this.#rewriteInPlace();
    }
  }

  #append(text: string): void {
    this.#bytes += writeWhole(this.#descriptor!, text);
  }

  /** Writes what is live to a new file, which then takes the place of the old one: a crash leaves one of them whole. */
  #begin(): void {
    const next = `${this.#file}.new`;
    const former = this.#descriptor;
    // What is closed below is the new one alone, also where it could not even be opened.
    this.#descriptor = undefined;
    try {
      this.#open(next);
      renameSync(next, this.#file);
    } catch (error) {
      this.#closeFile();
      this.#descriptor = former;
      rmSync(next, { force: true });
      throw error;
    }
    if (former !== undefined) closeSync(former);
  }

  /** Where there is no space for two files the old one goes first: a crash now cuts connections, which is the safe side. */
  #rewriteInPlace(): void {
    try {
      this.#closeFile();
      this.#open(this.#file);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #open(file: string): void {
    this.#descriptor = openSync(file, 'w', 0o600);
    this.#peers = new PeerNumbers();
    let text = runLine(this.generation);
    for (const [id, flow] of this.#live) text += addLine(id, flow, this.#peers);
    this.#bytes = 0;
    this.#append(text);
    this.#rewriteAt = 2 * this.#bytes + SPARE_BYTES;
  }

  /** A file that misses ends would let the next run take a new connection with the same addresses for one that has ended. So there is none. */
  #giveUp(error: unknown): void {
    this.#unwritten = [];
    this.#tooMany = this.#live.size;
    this.#closeFile();
    try {
      writeFileSync(this.#file, runLine(this.generation), { mode: 0o600 });
    } catch {
      rmSync(this.#file, { force: true });
    }
    this.#onProblem(
      `--flow-state ${this.#file}: ${messageOf(error)}; a restart cuts the ${this.#live.size} connections that are open now`,
    );
  }

  #tryAgain(): void {
    if (this.#closed) return;
    try {
      this.#begin();
    } catch {
      this.#tooMany = this.#live.size;
    }
  }

  #closeFile(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** @returns how many bytes that were */
function writeWhole(descriptor: number, text: string): number {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length;) at += writeSync(descriptor, bytes, at);
  return bytes.length;
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
  const reader = new RecordReader();
  for (const part of text.split('\n')) {
    if (part === '') continue;
    const line = reader.read(part);
    if (line === undefined) unreadable++;
    else if (line.kind === 'run') generation = line.generation;
    else if (line.kind === 'end') flows.delete(line.id);
    else if (line.kind === 'add') flows.set(line.id, line.flow);
  }
  return { generation, flows, unreadable };
}

function unusable(file: string, error: unknown): UserError {
  return new UserError(`--flow-state ${file}: ${messageOf(error)}`, { exitCode: EXIT.failure, cause: error });
}
