/** Whoever has had a place for so long has had time for a handshake; milliseconds. */
const KEPT_MS = 1_000;

/** Places for strangers that have proven nothing yet. */
export interface HalfOpenBounds {
  readonly perSource: number;
  readonly total: number;
}

/**
 * Counts what strangers may hold open before they have proven anything: so many in all, so many from one source. When a limit is reached
 * the oldest of that source (or of all) has to go: an honest peer is through in milliseconds, so what is old is idle. A resumption is
 * decided on its first frame and never waits here.
 */
export class HalfOpen {
  readonly #perSource: number;
  readonly #total: number;
  readonly #bySource = new Map<string, Set<Waiting>>();
  readonly #all = new Set<Waiting>();

  constructor(bounds: HalfOpenBounds) {
    this.#perSource = bounds.perSource;
    this.#total = bounds.total;
  }

  get size(): number {
    return this.#all.size;
  }

  /**
   * Whether one that can come again later may come now: there is room, or who would have to go has had its second. So a crowd behind one address (a
   * load balancer, a node that translates) is served one after the other, and none of it is turned out by the next.
   * @param now monotonic milliseconds
   */
  admits(source: string, now: number): boolean {
    const ofSource = this.#bySource.get(source);
    const isKept = (set: Set<Waiting>): boolean => now - set.values().next().value!.since < KEPT_MS;
    if (ofSource !== undefined && ofSource.size >= this.#perSource) return !isKept(ofSource);
    return this.#all.size < this.#total || !isKept(this.#all);
  }

  /**
   * Enters a waiting connection.
   * @param evict called when it has to go because newer ones came
   * @param since monotonic milliseconds
   * @returns the way to leave; calling it twice does no harm
   */
  enter(source: string, evict: () => void, since: number = performance.now()): () => void {
    const ofSource = this.#bySource.get(source) ?? new Set();
    this.#bySource.set(source, ofSource);
    if (ofSource.size >= this.#perSource) this.#evictOldest(ofSource);
    if (this.#all.size >= this.#total) this.#evictOldest(this.#all);
    const waiting: Waiting = { source, evict, since };
    this.#bySource.set(source, ofSource.add(waiting));
    this.#all.add(waiting);
    return () => this.#leave(waiting);
  }

  #evictOldest(set: Set<Waiting>): void {
    const oldest = set.values().next().value;
    if (oldest === undefined) return;
    this.#leave(oldest);
    oldest.evict();
  }

  #leave(waiting: Waiting): void {
    this.#all.delete(waiting);
    const ofSource = this.#bySource.get(waiting.source);
    ofSource?.delete(waiting);
    if (ofSource?.size === 0) this.#bySource.delete(waiting.source);
  }
}

interface Waiting {
  readonly source: string;
  readonly evict: () => void;
  readonly since: number;
}
