import type { ObjectMark } from './watch-event.ts';

interface Entry<T> {
  readonly uid: string;
  readonly version: string;
  readonly value: T;
}

/**
 * The objects of one kind, each reduced to what is needed of it. What says the same stays the same object, so that nothing is compiled anew because a
 * pod's condition changed. Pure apart from its own contents.
 */
export class ObjectStore<T> {
  #entries = new Map<string, Entry<T>>();
  readonly #onChange: (before: T | undefined, after: T | undefined) => void;

  /** @param onChange told of every value that comes, goes, or says something else */
  constructor(onChange: (before: T | undefined, after: T | undefined) => void = () => {}) {
    this.#onChange = onChange;
  }

  /** @returns whether anything says something else now */
  set(mark: ObjectMark, value: T): boolean {
    const before = this.#entries.get(mark.key);
    const kept = before !== undefined && sameValue(before.value, value) ? before.value : value;
    this.#entries.set(mark.key, { uid: mark.uid, version: mark.version, value: kept });
    if (kept === before?.value) return false;
    this.#onChange(before?.value, kept);
    return true;
  }

  delete(key: string): boolean {
    const before = this.#entries.get(key);
    if (before === undefined) return false;
    this.#entries.delete(key);
    this.#onChange(before.value, undefined);
    return true;
  }

  get(key: string): T | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Takes another store's place by taking its contents; what both have stays the same object. @returns whether anything changed */
  replaceBy(other: ObjectStore<T>): boolean {
    const changes: [before: T | undefined, after: T | undefined][] = [];
    for (const [key, entry] of other.#entries) {
      const before = this.#entries.get(key);
      if (before !== undefined && sameValue(before.value, entry.value)) {
        other.#entries.set(key, { ...entry, value: before.value });
      } else changes.push([before?.value, entry.value]);
    }
    for (const [key, { value }] of this.#entries) {
      if (!other.#entries.has(key)) changes.push([value, undefined]);
    }
    this.#entries = other.#entries;
    for (const [before, after] of changes) this.#onChange(before, after);
    return changes.length > 0;
  }

  values(): T[] {
    return [...this.#entries.values()].map((entry) => entry.value);
  }
}

function sameValue(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}
