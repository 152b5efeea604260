import type {
  Accepted,
  Closed,
  ConnectionId,
  DataPath,
  DataPathEvents,
  DialOptions,
  DialReport,
  RelayOptions,
  Side,
} from '../relay/data-path.ts';
import type { ByPass } from '../relay/resumption.ts';
import type { Endpoint } from '../lib/address.ts';

/** What happens to a connection, in order. `timeout` is the answer to a wait that had a limit. */
export type ConnectionEvent =
  | { readonly kind: 'frame'; readonly side: Side; readonly frame: Uint8Array }
  | {
      readonly kind: 'notFrame';
      readonly side: Side;
      readonly bytes: Uint8Array;
      readonly endOfFile: boolean;
    }
  | { readonly kind: 'frameTooLarge'; readonly side: Side; readonly announced: number }
  | { readonly kind: 'dialled'; readonly error: string | undefined; readonly report?: DialReport }
  | { readonly kind: 'preamble'; readonly upstreamSpoke: boolean }
  | { readonly kind: 'evicted' }
  | { readonly kind: 'turn' }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'closed'; readonly closed: Closed };

/**
 * One accepted connection as its life sees it: calls go to the data path, what happens comes back through {@link next}, in order, so that
 * a life is a function that reads from top to bottom.
 */
export class Connection implements Listening {
  readonly id: ConnectionId;
  readonly accepted: Accepted;
  /** Monotonic milliseconds. */
  readonly startedAt: number;
  readonly #dataPath: DataPath;
  readonly #happened: ConnectionEvent[] = [];
  #waiting: ((event: ConnectionEvent) => void) | undefined;
  #closed: Closed | undefined;

  constructor(dataPath: DataPath, id: ConnectionId, accepted: Accepted, startedAt = performance.now()) {
    this.#dataPath = dataPath;
    this.id = id;
    this.accepted = accepted;
    this.startedAt = startedAt;
  }

  /** The next thing that happens, or `timeout` after so many milliseconds. After `closed` it is `closed` for ever. */
  next(timeoutMs?: number): Promise<ConnectionEvent> {
    const event = this.#happened.shift();
    if (event !== undefined) return Promise.resolve(event);
    if (this.#closed !== undefined) return Promise.resolve({ kind: 'closed', closed: this.#closed });
    return new Promise((resolve) => {
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => this.post({ kind: 'timeout' }), Math.max(0, timeoutMs));
      this.#waiting = (happened) => {
        clearTimeout(timer);
        resolve(happened);
      };
    });
  }

  /** Called by whoever saw it happen. */
  post(event: ConnectionEvent): void {
    if (event.kind === 'closed') this.#closed = event.closed;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) waiting(event);
    else if (event.kind !== 'closed') this.#happened.push(event);
  }

  get isClosed(): boolean {
    return this.#closed !== undefined;
  }

  readFrame(side: Side, maxBytes: number): void {
    this.#dataPath.readFrame(this.id, side, maxBytes);
  }

  send(side: Side, bytes: Uint8Array): void {
    this.#dataPath.send(this.id, side, bytes);
  }

  dial(target: Endpoint, options: DialOptions): void {
    this.#dataPath.dial(this.id, target, options);
  }

  relay(options: RelayOptions): void {
    this.#dataPath.relay(this.id, options);
  }

  release(): void {
    this.#dataPath.release(this.id);
  }

  dropUpstream(): void {
    this.#dataPath.dropUpstream(this.id);
  }

  reset(): void {
    this.#dataPath.reset(this.id);
  }

  progress(): { bytesIn: number; bytesOut: number } | undefined {
    return this.#dataPath.progress(this.id);
  }

  /** Waits for the end and gives it. */
  async ended(): Promise<Closed> {
    for (;;) {
      const event = await this.next();
      if (event.kind === 'closed') return event.closed;
    }
  }
}

/** Who hears what happens to a connection. */
export interface Listening {
  post(event: ConnectionEvent): void;
}

/** Hands what the data path reports to the connections it is about. */
export class ConnectionTable implements DataPathEvents {
  readonly #byId = new Map<ConnectionId, Listening>();
  readonly #onAccepted: (id: ConnectionId, accepted: Accepted) => Listening;
  readonly #onByPass: (told: ByPass) => Listening | undefined;

  /**
   * @param onAccepted makes the connection of an id and starts its life
   * @param onByPass the same for one that a pass established; undefined when it is over already
   */
  constructor(
    onAccepted: (id: ConnectionId, accepted: Accepted) => Listening,
    onByPass: (told: ByPass) => Listening | undefined,
  ) {
    this.#onAccepted = onAccepted;
    this.#onByPass = onByPass;
  }

  get size(): number {
    return this.#byId.size;
  }

  accepted(id: ConnectionId, accepted: Accepted): void {
    this.#byId.set(id, this.#onAccepted(id, accepted));
  }

  byPass(told: ByPass): void {
    const connection = this.#onByPass(told);
    if (connection !== undefined) this.#byId.set(told.id, connection);
  }

  frame(id: ConnectionId, side: Side, frame: Uint8Array): void {
    this.#byId.get(id)?.post({ kind: 'frame', side, frame });
  }

  notFrame(id: ConnectionId, side: Side, bytes: Uint8Array, endOfFile: boolean): void {
    this.#byId.get(id)?.post({ kind: 'notFrame', side, bytes, endOfFile });
  }

  frameTooLarge(id: ConnectionId, side: Side, announced: number): void {
    this.#byId.get(id)?.post({ kind: 'frameTooLarge', side, announced });
  }

  dialled(
    id: ConnectionId,
    error: string | undefined,
    _local: Endpoint | undefined,
    report?: DialReport,
  ): void {
    this.#byId.get(id)?.post({ kind: 'dialled', error, ...(report && { report }) });
  }

  preamble(id: ConnectionId, upstreamSpoke: boolean): void {
    this.#byId.get(id)?.post({ kind: 'preamble', upstreamSpoke });
  }

  closed(id: ConnectionId, closed: Closed): void {
    const connection = this.#byId.get(id);
    this.#byId.delete(id);
    connection?.post({ kind: 'closed', closed });
  }
}
