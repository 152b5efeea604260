/** More series than a closed set of labels makes do not wait. */
const MOST_SERIES = 256;

type Labels = Readonly<Record<string, string>>;

/**
 * Increments of a counter that wait until somebody wants to see them. Every connection counts several times, a scrape comes twice a minute,
 * and the registry's own way to a series (a text made of its labels) costs ten times what this does.
 */
export class WaitingCounts<L extends Labels> {
  readonly #names: readonly (keyof L)[];
  readonly #count: (labels: L, by: number) => void;
  #waiting: { readonly labels: L; by: number }[] = [];

  /** @param count of the counter itself */
  constructor(names: readonly (keyof L)[], count: (labels: L, by: number) => void) {
    this.#names = names;
    this.#count = count;
  }

  add(labels: L, by = 1): void {
    for (const one of this.#waiting) {
      if (!this.#same(one.labels, labels)) continue;
      one.by += by;
      return;
    }
    if (this.#waiting.length >= MOST_SERIES) this.settle();
    this.#waiting.push({ labels, by });
  }

  /** Tells the counter of all that waits. */
  settle(): void {
    const settled = this.#waiting;
    this.#waiting = [];
    for (const { labels, by } of settled) this.#count(labels, by);
  }

  #same(one: L, other: L): boolean {
    for (const name of this.#names) if (one[name] !== other[name]) return false;
    return true;
  }
}
