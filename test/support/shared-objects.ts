import type { SharedContents, SharedObject } from '../../src/rotation/shared-object.ts';

/** An object of the API server as several replicas see it, with a switch for its absence. */
export class StoredObject {
  contents: SharedContents | undefined;
  broken = false;
  writes = 0;
  reads = 0;
  /** Run once, before the next write takes effect: whoever is faster. */
  beforeWrite: (() => void) | undefined;
  #version = 0;

  /** What one replica holds. */
  handle(): SharedObject {
    return {
      name: 'secret/test/keys',
      read: async () => {
        this.reads++;
        this.#check();
        return this.contents;
      },
      create: async (data) => this.#write(() => this.contents === undefined, data),
      replace: async (data, version) => this.#write(() => this.contents?.version === version, data),
    };
  }

  set(data: Readonly<Record<string, string>>): void {
    this.contents = { data, version: String(++this.#version) };
  }

  async #write(may: () => boolean, data: Readonly<Record<string, string>>): Promise<boolean> {
    this.#check();
    const faster = this.beforeWrite;
    this.beforeWrite = undefined;
    faster?.();
    if (!may()) return false;
    this.writes++;
    this.set(data);
    return true;
  }

  #check(): void {
    if (this.broken) throw new Error('the API server does not answer');
  }
}
