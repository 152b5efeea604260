import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { type FlowChange, FlowFile } from './flow-store-file.ts';
import { type KeptFlow, RecordReader, runLine } from './flow-record-lines.ts';

/** A hundred thousand flows with large identities; a file that is longer is not this program's. */
const MAX_BYTES = 256 * 1024 * 1024;
/** The file is written anew when it is twice as long as it was then, and this much longer. */
const SPARE_BYTES = 1 << 20;
/** So many flows are written anew in one turn of the event loop, a millisecond or two: there may be a hundred thousand. */
const COPIED_AT_ONCE = 512;

/** A file that is written anew, some flows in each turn. What changes meanwhile goes there, too, behind what was copied before it. */
interface Copying {
  readonly file: FlowFile;
  readonly flows: Iterator<[string, KeptFlow]>;
  /** As many as there were when it began: those that come later stand behind, and are written as changes. */
  left: number;
}

/**
 * The file of verified flows: what lets connections outlive a restart of the sidecar. It is appended to and lives in memory (a tmpfs), since a
 * node that restarts has no connections either; whoever can write it can let flows live on, so it belongs to the proxy's user alone.
 *
 * Now and then it is written anew, in turns of the event loop: beside the old one, which stays whole until the new one takes its place, so that a crash finds one of them. Where there is
 * no space for two the old one goes first, and a crash before the new one is whole cuts connections, which is the safe side.
 */
export class FlowStore {
  /** Which run this is. */
  readonly generation: number;
  /** What the run before left. */
  readonly kept: ReadonlyMap<string, KeptFlow>;
  /** Lines that could not be read. */
  readonly unreadable: number;
  readonly #path: string;
  readonly #onProblem: (message: string) => void;
  readonly #live = new Map<string, KeptFlow>();
  /** Whole, but for what is not written yet. Undefined: there is none, and a restart cuts the flows. */
  #file: FlowFile | undefined;
  #copying: Copying | undefined;
  #rewriteAt = 0;
  /** Flows there were when there was no space for them; below half of it there is another try. */
  #tooMany = 0;
  /** Lines are made when they are written, since a packet waits for its verdict until {@link add} returns. */
  #unwritten: FlowChange[] = [];
  #scheduled = false;
  #closed = false;

  /**
   * @param onProblem told when the file can no longer be written: until it can again a restart cuts the flows
   * @throws UserError when the file cannot be read or made, naming it
   */
  constructor(path: string, onProblem: (message: string) => void) {
    this.#path = path;
    this.#onProblem = onProblem;
    const read = readKept(path);
    this.generation = (read.generation + 1) & 15;
    this.kept = read.flows;
    this.unreadable = read.unreadable;
    try {
      this.#copyBeside();
      this.#finish();
    } catch (error) {
      this.#dropCopy();
      throw unusable(path, error);
    }
  }

  /** Keeps a flow. It is in the file at the end of this turn of the event loop. */
  add(id: string, flow: KeptFlow): void {
    this.#live.set(id, flow);
    this.#changed({ id, flow });
  }

  /** Forgets a flow. */
  end(id: string): void {
    if (!this.#live.delete(id)) return;
    this.#changed({ id });
    if (this.#isWritten || this.#closed || this.#live.size >= this.#tooMany / 2) return;
    try {
      this.#copyBeside();
    } catch {
      this.#wait();
    }
  }

  close(): void {
    this.#flush();
    this.#closed = true;
    // A file that is whole stays; one that is not is finished here, since what it misses would be cut.
    if (this.#file !== undefined) this.#dropCopy();
    while (this.#copying !== undefined) this.#copySome();
    this.#file?.close();
    this.#file = undefined;
  }

  /** Whether changes are written anywhere. */
  get #isWritten(): boolean {
    return this.#file !== undefined || this.#copying !== undefined;
  }

  #changed(change: FlowChange): void {
    if (!this.#isWritten) return;
    this.#unwritten.push(change);
    this.#soon();
  }

  #soon(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#closed) return;
      this.#flush();
      if (this.#copying !== undefined) this.#copySome();
    });
  }

  #flush(): void {
    const changes = this.#unwritten;
    if (changes.length === 0) return;
    this.#unwritten = [];
    try {
      this.#file?.append(changes);
      this.#copying?.file.append(changes);
    } catch (error) {
      return this.#failed(error);
    }
    if (this.#copying !== undefined || this.#file === undefined || this.#file.bytes <= this.#rewriteAt)
      return;
    try {
      this.#copyBeside();
    } catch (error) {
      this.#failed(error);
    }
  }

  #copyBeside(): void {
    this.#copyTo(`${this.#path}.new`);
  }

  #copyTo(path: string): void {
    const file = new FlowFile(path, this.generation);
    this.#copying = { file, flows: this.#live.entries(), left: this.#live.size };
    this.#soon();
  }

  /** Copies some flows, those that were verified first before the others, and puts the copy in its place after the last one. */
  #copySome(): void {
    const copying = this.#copying!;
    try {
      copying.file.append(nextOf(copying));
      if (copying.left === 0) this.#finish();
      else this.#soon();
    } catch (error) {
      this.#failed(error);
    }
  }

  #finish(): void {
    const { file } = this.#copying!;
    if (file.path !== this.#path) renameSync(file.path, this.#path);
    this.#file?.close();
    this.#file = file;
    this.#copying = undefined;
    this.#rewriteAt = 2 * file.bytes + SPARE_BYTES;
  }

  #dropCopy(): void {
    const copying = this.#copying;
    this.#copying = undefined;
    if (copying === undefined) return;
    copying.file.close();
    if (copying.file.path !== this.#path) rmSync(copying.file.path, { force: true });
  }

  /** There is no space, for two files perhaps: the old one goes, and where there is none for the new one alone it is given up. */
  #failed(error: unknown): void {
    const isInPlace = this.#copying?.file.path === this.#path;
    this.#dropCopy();
    if (isInPlace) return this.#giveUp(error);
    // Another try with fewer flows: that there is none was told.
    if (this.#file === undefined) return this.#wait();
    this.#file.close();
    this.#file = undefined;
    try {
      this.#copyTo(this.#path);
    } catch (another) {
      this.#giveUp(another);
    }
  }

  /** There is no file until there are fewer flows. */
  #wait(): void {
    this.#unwritten = [];
    this.#tooMany = this.#live.size;
  }

  /** A file that misses ends would let the next run take a new connection with the same addresses for one that has ended. So there is none. */
  #giveUp(error: unknown): void {
    this.#wait();
    try {
      writeFileSync(this.#path, runLine(this.generation), { mode: 0o600 });
    } catch {
      rmSync(this.#path, { force: true });
    }
    this.#onProblem(
      `--flow-state ${this.#path}: ${messageOf(error)}; a restart cuts the ${this.#live.size} connections that are open now`,
    );
  }
}

/** The next flows of a copy, some of them. */
function* nextOf(copying: Copying): Generator<FlowChange> {
  for (let some = COPIED_AT_ONCE; some > 0 && copying.left > 0; some--) {
    const { done, value } = copying.flows.next();
    copying.left = done === true ? 0 : copying.left - 1;
    if (done !== true) yield { id: value[0], flow: value[1] };
  }
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
