/** Values by key, each under the keys that it has at the moment. Where one is replaced it keeps its place. */
export class KeyedLists<V> {
  readonly #lists = new Map<string, Map<string, V>>();

  /** The values under a key, in the order in which they came. */
  at(key: string): readonly V[] {
    const list = this.#lists.get(key);
    return list === undefined ? [] : [...list.values()];
  }

  /**
   * @param name of the value, the same before and after
   * @param value undefined: it is no more
   */
  replace(name: string, before: Iterable<string>, after: Iterable<string>, value: V | undefined): void {
    const kept = new Set(value === undefined ? [] : after);
    for (const key of before) if (!kept.has(key)) this.#remove(key, name);
    if (value === undefined) return;
    for (const key of kept) {
      const list = this.#lists.get(key);
      if (list === undefined) this.#lists.set(key, new Map([[name, value]]));
      else list.set(name, value);
    }
  }

  #remove(key: string, name: string): void {
    const list = this.#lists.get(key);
    if (list?.delete(name) === true && list.size === 0) this.#lists.delete(key);
  }
}
