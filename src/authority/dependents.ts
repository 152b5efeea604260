/** Who depends on which keys, so that a change finds those whom it concerns without asking the others. */
export class Dependents<S> {
  readonly #byKey = new Map<string, Set<S>>();

  /** What somebody depends on now, instead of before. */
  update(who: S, before: ReadonlySet<string>, now: ReadonlySet<string>): void {
    for (const key of before) {
      if (now.has(key)) continue;
      const set = this.#byKey.get(key);
      if (set?.delete(who) === true && set.size === 0) this.#byKey.delete(key);
    }
    for (const key of now) {
      if (before.has(key)) continue;
      const set = this.#byKey.get(key);
      if (set === undefined) this.#byKey.set(key, new Set([who]));
      else set.add(who);
    }
  }

  /** Everybody who depends on one of the keys, once. */
  concerned(keys: ReadonlySet<string>): Set<S> {
    const found = new Set<S>();
    for (const key of keys) for (const who of this.#byKey.get(key) ?? []) found.add(who);
    return found;
  }
}
