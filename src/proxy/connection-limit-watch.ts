import { LogLimit } from '../observe/log-limit.ts';
import type { ConnectionBounds, ConnectionLimit, HeldConnections } from '../relay/connection-limit.ts';

const LOOK_MS = 1_000;
/** One line a minute, however many are refused. */
const LINES = { count: 1, perMs: 60_000 };

export interface LimitLog {
  warn(facts: object, message: string): void;
}

/** Tells of connections for which there was no room: a line in the log at a limited pace, and what metrics and the admin socket show. */
export class ConnectionLimitWatch {
  readonly bounds: ConnectionBounds;
  readonly #limit: ConnectionLimit;
  readonly #log: LimitLog;
  readonly #lines = new LogLimit<'refused'>(LINES.count, LINES.perMs);
  readonly #timer: NodeJS.Timeout;
  #seen = 0;
  #told = 0;

  constructor(limit: ConnectionLimit, bounds: ConnectionBounds, log: LimitLog) {
    this.bounds = bounds;
    this.#limit = limit;
    this.#log = log;
    limit.set(bounds);
    this.#timer = setInterval(() => this.tell(performance.now()), LOOK_MS);
    this.#timer.unref();
  }

  get held(): HeldConnections {
    return this.#limit.look();
  }

  /** @param now monotonic milliseconds */
  tell(now: number): void {
    const { held, refused, fullest } = this.#limit.look();
    const all = refused.all.inbound + refused.all.outbound;
    const ofSources = refused.source.inbound + refused.source.outbound;
    if (all + ofSources === this.#seen) return;
    this.#seen = all + ofSources;
    if (this.#lines.admit('refused', now) === undefined) return;
    const { most, mostOfSource } = this.bounds;
    this.#log.warn(
      {
        reason: 'connection-limit',
        refused: this.#seen - this.#told,
        open: held,
        limit: most,
        limit_of_source: mostOfSource,
        ...(fullest && { fullest_source: fullest.address, open_of_it: fullest.held }),
      },
      'as many connections are open as there may be, in all or from one source: new ones are refused',
    );
    this.#told = this.#seen;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
