import type { ClientHttp2Session } from 'node:http2';
import { openSession, type TrustAnchors } from './transport.ts';

/** Connections to one of several authorities, the next one after a failure. */
export class AuthorityConnections {
  readonly #urls: readonly string[];
  readonly #anchors: TrustAnchors;
  readonly #from: string | undefined;
  readonly #open = new Set<ClientHttp2Session>();
  /** Connected, or about to be, and used by nobody. */
  #spare: Promise<ClientHttp2Session> | undefined;
  #at: number;
  #closed = false;

  /**
   * @param first which of the URLs comes first
   * @param from own address to connect from; undefined: the system chooses
   */
  constructor(urls: readonly string[], anchors: TrustAnchors, first: number, from: string | undefined) {
    this.#urls = urls;
    this.#anchors = anchors;
    this.#at = first;
    this.#from = from;
  }

  /** Begins to connect ahead of {@link take}. That it fails is told by nobody: who takes tries again. */
  connect(): void {
    this.#spare ??= this.#connect();
    this.#spare.catch(() => {});
  }

  /** The spare connection if it still is one, else a new one. Throws a `UserError` that says why there is none. */
  async take(): Promise<ClientHttp2Session> {
    const kept = this.#spare;
    this.#spare = undefined;
    const spare = await kept?.catch(() => undefined);
    return spare === undefined || spare.closed || spare.destroyed ? this.#connect() : spare;
  }

  /** Keeps a connection for who takes one next. @returns false: there is one already */
  keep(session: ClientHttp2Session): boolean {
    if (this.#spare !== undefined) return false;
    this.#spare = Promise.resolve(session);
    return true;
  }

  /** What is connected from now on goes to another authority, where there are several. */
  next(): void {
    this.#at++;
  }

  /** Cuts all, and what connects later. */
  close(): void {
    this.#closed = true;
    for (const session of this.#open) session.destroy();
  }

  async #connect(): Promise<ClientHttp2Session> {
    const url = this.#urls[this.#at % this.#urls.length]!;
    const session = await openSession(url, await this.#anchors.bundle(), this.#from);
    this.#open.add(session);
    session.once('close', () => this.#open.delete(session));
    if (this.#closed) session.destroy();
    return session;
  }
}
