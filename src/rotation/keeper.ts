import { messageOf, UserError } from '../errors.ts';
import { type Generation, type Rotation, rotationAt, type RotationPolicy } from './schedule.ts';
import type { SharedContents, SharedObject } from './shared-object.ts';

/** How often the shared object is looked at. */
const LOOK_MS = 30_000;
/** How often a write that somebody else overtook is tried again at once. */
const ATTEMPTS = 5;

export interface KeeperOptions<G extends Generation> {
  readonly object: SharedObject;
  readonly policy: RotationPolicy;
  /** Makes a generation. */
  readonly make: (now: number) => Promise<G>;
  /** The generations of an object; throws when they cannot be read. */
  readonly decode: (data: Readonly<Record<string, string>>) => Promise<readonly G[]>;
  readonly encode: (generations: readonly G[]) => Readonly<Record<string, string>>;
  /** Seconds since the epoch. */
  readonly now?: () => number;
  readonly onProblem?: (problem: string) => void;
}

/**
 * Keeps secrets that rotate by themselves in an object which all replicas share. The first replica makes them; whoever finds that another generation is
 * due makes it, and of several that try at once one wins. An object that is there and cannot be read is never replaced: what it holds may be
 * what everybody believes.
 */
export class RotationKeeper<G extends Generation> {
  readonly #options: KeeperOptions<G>;
  readonly #listeners = new Set<() => void>();
  #generations: readonly G[] = [];
  #known: string | undefined;
  #told = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(options: KeeperOptions<G>) {
    this.#options = options;
  }

  /** What counts now. */
  get rotation(): Rotation<G> {
    return rotationAt(this.#generations, this.#now(), this.#options.policy);
  }

  /** Called whenever what is active or published has changed. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Reads, and makes the first generation where there is none. Throws when neither can be done. */
  async start(): Promise<void> {
    await this.look();
    this.#timer ??= setInterval(() => void this.#lookAgain(), LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Reads the object and makes what is due. */
  async look(): Promise<void> {
    const { object } = this.#options;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const found = await object.read();
      if (found !== undefined) await this.#take(found);
      const { due, published } = this.rotation;
      if (found !== undefined && !due) return this.#tell();
      // The clock of the maker counts, not the newest generation: with a clock set back it waits for its turn.
      const made = await this.#options.make(Math.floor(this.#now()));
      const data = this.#options.encode([...published, made]);
      const done =
        found === undefined ? await object.create(data) : await object.replace(data, found.version);
      // Whoever lost reads what the other has made.
      if (!done) continue;
      const written = await object.read();
      if (written === undefined) continue;
      await this.#take(written);
      return this.#tell();
    }
    throw new UserError(`${object.name} changes faster than it can be written`);
  }

  async #lookAgain(): Promise<void> {
    try {
      await this.look();
    } catch (error) {
      this.#options.onProblem?.(`${this.#options.object.name}: ${messageOf(error)}`);
    }
  }

  async #take({ data, version }: SharedContents): Promise<void> {
    if (version === this.#known) return;
    const generations = await this.#options.decode(data);
    if (generations.length === 0) {
      throw new UserError(
        `${this.#options.object.name} is there and empty: delete it to have new ones made, which ends what the old ones signed`,
      );
    }
    this.#generations = generations;
    this.#known = version;
  }

  #tell(): void {
    const { active, published } = this.rotation;
    const state = JSON.stringify([
      active?.createdAt,
      published.map(({ createdAt }) => createdAt),
      this.#known,
    ]);
    if (state === this.#told) return;
    this.#told = state;
    for (const listener of this.#listeners) listener();
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now() / 1000;
  }
}
