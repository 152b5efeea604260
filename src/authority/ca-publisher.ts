import { messageOf } from '../errors.ts';
import type { SharedObject } from '../rotation/shared-object.ts';

const KEY = 'ca.pem';
const RETRY_MS = 5_000;
/** How often a ConfigMap is looked at that nobody here changed. */
const LOOK_MS = 600_000;

export interface CaPublisherOptions {
  /** The ConfigMap in the authority's own namespace. The injector brings it to the namespaces of injected pods. */
  readonly object: SharedObject;
  /** PEM. */
  readonly bundle: () => string;
  readonly onProblem: (problem: string) => void;
}

/** Keeps the certificates by which authorities are believed in one ConfigMap, for whoever brings them to pods. They are public. */
export class CaPublisher {
  readonly #options: CaPublisherOptions;
  readonly #timer: NodeJS.Timeout;
  #published: { readonly bundle: string; readonly at: number } | undefined;
  #turn: Promise<void> = Promise.resolve();
  #queued = false;
  #closed = false;

  constructor(options: CaPublisherOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.look(), RETRY_MS).unref();
    this.look();
  }

  /** Publishes what is not there yet, one look after the other. */
  look(): void {
    if (this.#queued || this.#closed) return;
    this.#queued = true;
    this.#turn = this.#turn.then(() => {
      this.#queued = false;
      return this.#publish();
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#turn;
  }

  async #publish(): Promise<void> {
    const { object, bundle, onProblem } = this.#options;
    const wanted = bundle();
    const now = performance.now();
    const known = this.#published;
    if (this.#closed || (known?.bundle === wanted && now - known.at < LOOK_MS)) return;
    try {
      const found = await object.read();
      if (found === undefined) await object.create({ [KEY]: wanted });
      else if (found.data[KEY] !== wanted) await object.replace({ [KEY]: wanted }, found.version);
      this.#published = { bundle: wanted, at: now };
    } catch (error) {
      onProblem(`the certificates cannot be published: ${messageOf(error)}`);
    }
  }
}
