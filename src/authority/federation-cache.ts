import { createHash } from 'node:crypto';
import { messageOf } from '../errors.ts';
import { issuerKeysOf } from '../identity/trust.ts';
import type { SharedObject } from '../rotation/shared-object.ts';
import type { ToldKeys } from './federation-entries.ts';

/**
 * The keys of other domains as they were told last, in an object that replicas share: so an authority that starts while another one cannot be reached still knows
 * them. They are public, and believed no longer than if they were just remembered.
 */
export class FederationCache {
  readonly #object: SharedObject;
  #known = new Map<string, ToldKeys>();

  constructor(object: SharedObject) {
    this.#object = object;
  }

  /** Reads what is there. What cannot be read is nothing. @returns what went wrong */
  async load(): Promise<string | undefined> {
    try {
      const found = await this.#object.read();
      const entries = Object.entries(found?.data ?? {});
      this.#known = new Map(entries.flatMap(([name, text]) => readEntry(name, text, this.#object.name)));
      return undefined;
    } catch (error) {
      return `${this.#object.name}: ${messageOf(error)}`;
    }
  }

  /** @param of what domain and source they are of: those of another source do not count */
  get(of: string): ToldKeys | undefined {
    return this.#known.get(nameOf(of));
  }

  /** Keeps what was told last, and nothing else. @returns what went wrong */
  async keep(all: ReadonlyMap<string, ToldKeys>): Promise<string | undefined> {
    const data = Object.fromEntries([...all].map(([of, told]) => [nameOf(of), JSON.stringify(told)]));
    try {
      const found = await this.#object.read();
      if (found === undefined) await this.#object.create(data);
      else await this.#object.replace(data, found.version);
      return undefined;
    } catch (error) {
      return `${this.#object.name}: ${messageOf(error)}`;
    }
  }
}

function nameOf(of: string): string {
  return `${createHash('sha256').update(of).digest('hex')}.json`;
}

function readEntry(name: string, text: string, object: string): [string, ToldKeys][] {
  try {
    const { keys, at, authorities } = JSON.parse(text) as {
      keys: object[];
      at: unknown;
      authorities: unknown;
    };
    issuerKeysOf(keys, object, name);
    if (typeof at !== 'number' || !Number.isFinite(at)) return [];
    return [[name, { keys, at, ...(typeof authorities === 'string' ? { authorities } : {}) }]];
  } catch {
    return [];
  }
}
