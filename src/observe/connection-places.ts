import type { Socket } from 'node:net';

/**
 * A limited number of places for a server's connections. When all are taken, the source that holds most loses its oldest one: whoever crowds in
 * harms himself, and kubelet's probe still gets its answer.
 */
export class ConnectionPlaces {
  readonly #max: number;
  /** By source, oldest first. */
  readonly #bySource = new Map<string, Set<Socket>>();
  #size = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#size;
  }

  /** Gives a new connection its place, until it closes. */
  take(socket: Socket): void {
    if (this.#size >= this.#max) this.#evict();
    const source = socket.remoteAddress ?? '';
    const held = this.#bySource.get(source) ?? new Set();
    this.#bySource.set(source, held.add(socket));
    this.#size++;
    socket.once('close', () => this.#leave(source, socket));
  }

  closeAll(): void {
    for (const held of this.#bySource.values()) for (const socket of held) socket.destroy();
  }

  #evict(): void {
    let crowd: [string, Set<Socket>] | undefined;
    for (const one of this.#bySource) if (crowd === undefined || one[1].size > crowd[1].size) crowd = one;
    const [oldest] = crowd?.[1] ?? [];
    if (crowd === undefined || oldest === undefined) return;
    this.#leave(crowd[0], oldest);
    oldest.destroy();
  }

  #leave(source: string, socket: Socket): void {
    const held = this.#bySource.get(source);
    if (held?.delete(socket) !== true) return;
    this.#size--;
    if (held.size === 0) this.#bySource.delete(source);
  }
}
