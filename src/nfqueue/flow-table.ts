import type { PacketPassing } from './packet-path.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** Handshakes under way at once, of strangers (4,096 of them at most, `src/proxy/half-open.ts`) and of the pod's own calls; some 5 KB each. */
export const MOST_WAITING = 8_192;

/** Of a flow of an earlier run. A SYN that happens to have it is looked at by TypeScript, like any that a pass does not foresee. */
const UNKNOWN_INITIAL = 0;

/** The flows by their connection, those among them that wait for something, and the older connection on a flow's ports. */
export class FlowTable {
  readonly byKey = new Map<string, QueuedFlow>();
  readonly #waiting = new Set<QueuedFlow>();
  readonly #passing: () => PacketPassing | undefined;

  /** @param passing who has to know which connections there are, once there is one */
  constructor(passing: () => PacketPassing | undefined = () => undefined) {
    this.#passing = passing;
  }

  /** Flows whose handshake is under way. */
  get waiting(): Iterable<QueuedFlow> {
    return this.#waiting;
  }

  /** Whether so many handshakes are under way that no more calls of the pod are begun. */
  get isFull(): boolean {
    return this.#waiting.size >= MOST_WAITING;
  }

  /**
   * Whether one connection more, whose ports nobody has, fits the bound of all that are open. Whoever has passes keeps count, since connections begin there,
   * too, and in the listeners.
   */
  admits(key: string, outgoing: boolean): boolean {
    return this.#passing()?.admits(key, outgoing) ?? true;
  }

  get(key: string): QueuedFlow | undefined {
    return this.byKey.get(key);
  }

  /** Enters a flow whose handshake begins, instead of whatever has its ports. */
  enter(one: QueuedFlow): void {
    this.byKey.set(one.key, one);
    this.#waiting.add(one);
    this.#claim(one, true);
  }

  /** Enters a flow that waits for nothing. */
  restore(one: QueuedFlow): void {
    this.byKey.set(one.key, one);
    this.#claim(one, false);
  }

  /** Enters a flow that a pass has begun and that waits for nothing: who has passes knows it. */
  told(one: QueuedFlow): void {
    this.byKey.set(one.key, one);
  }

  /** A flow waits for nothing more. */
  settle(one: QueuedFlow): void {
    this.#waiting.delete(one);
    this.#claim(one, false);
  }

  /**
   * Takes a flow out.
   * @returns the older connection on its ports, which never ended and has them again
   */
  remove(one: QueuedFlow): QueuedFlow | undefined {
    this.#waiting.delete(one);
    if (this.byKey.get(one.key) !== one) return undefined;
    this.byKey.delete(one.key);
    this.#passing()?.release(one.key, one.initial ?? UNKNOWN_INITIAL);
    const { previous } = one;
    if (previous !== undefined) this.restore(previous);
    return previous;
  }

  #claim(one: QueuedFlow, waiting: boolean): void {
    this.#passing()?.claim(one.key, one.initial ?? UNKNOWN_INITIAL, one.outgoing, waiting);
  }
}
