/** So many handshakes with one place may be under way: fewer than the server has half-open places for one client. */
const AT_ONCE = 64;
/** A handshake that takes longer hangs: it keeps nobody waiting any more. */
const HANGS_MS = 1_000;

/**
 * Spreads a burst of calls to one place. Without it a thousand calls at once would all prove themselves in full, and the server would take
 * them for a flood; with it the first ones do, and those that waited for them resume their sessions.
 */
export class HandshakeGate {
  readonly #places = new Map<string, { busy: number; readonly waiting: Set<() => void> }>();

  /**
   * Waits for a turn, for so many milliseconds at most.
   * @returns the way to leave; calling it twice does no harm
   */
  async enter(place: string, atMostMs: number): Promise<() => void> {
    const here = this.#places.get(place) ?? { busy: 0, waiting: new Set() };
    this.#places.set(place, here);
    if (here.busy < AT_ONCE) here.busy++;
    else if (!(await turn(here.waiting, atMostMs))) here.busy++;
    let left = false;
    const leave = (): void => {
      if (left) return;
      left = true;
      clearTimeout(timer);
      const next = here.busy > AT_ONCE ? undefined : here.waiting.values().next().value;
      if (next !== undefined) return next(); // the turn is handed on
      here.busy--;
      if (here.busy === 0) this.#places.delete(place);
    };
    const timer = setTimeout(leave, HANGS_MS);
    return leave;
  }
}

/** Resolves to true when a turn is handed on, to false when none came in time. */
function turn(waiting: Set<() => void>, atMostMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (came: boolean): void => {
      clearTimeout(timer);
      waiting.delete(take);
      resolve(came);
    };
    const take = (): void => end(true);
    const timer = setTimeout(() => end(false), atMostMs);
    waiting.add(take);
  });
}
