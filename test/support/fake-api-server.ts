import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiClient, type ApiTiming } from '../../src/kube/api-client.ts';
import { fixedToken } from '../../src/kube/credential.ts';
import { FakeApi, type FakeLevel } from './fake-api.ts';
import { type Fault, FaultPlan, FakeWatch } from './fake-faults.ts';
import { type FakeObject, FakeStatus, FakeStore } from './fake-store.ts';
import { ADMIN_TOKEN, FakeTokens, type FakeUser } from './fake-tokens.ts';

export interface FakeOptions {
  /** How a server of Kubernetes 1.29 or a current one behaves where they differ. */
  readonly level?: FakeLevel;
  /** How often a watch gets a bookmark; a real server sends one about every minute. Milliseconds. */
  readonly bookmarkMs?: number;
}

/**
 * An API server in this process, for what a real one does not do on demand. `test/support/api-contract.ts` runs against both, so that this one does not
 * drift from what real ones do.
 */
export class FakeApiServer {
  readonly store = new FakeStore();
  readonly faults = new FaultPlan();
  /** All requests so far, `GET /api/v1/pods?limit=500`. */
  readonly requests: string[] = [];
  /** Watches that are open. */
  readonly watches = new Set<FakeWatch>();
  /** Who may do what; everybody everything by default. False: 403. */
  allows: (user: FakeUser, verb: string, collection: string, namespace: string | undefined) => boolean = () =>
    true;
  readonly #api: FakeApi;
  readonly #tokens: FakeTokens;
  readonly #bookmarkMs: number;
  readonly #server: Server;
  readonly #closing = new AbortController();
  #port = 0;

  constructor({ level = 'current', bookmarkMs = 200 }: FakeOptions = {}) {
    this.#bookmarkMs = bookmarkMs;
    this.#tokens = new FakeTokens(this.store, level === 'current');
    this.#api = new FakeApi(this.store, this.#tokens, level, (...asked) => this.allows(...asked));
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** @param port of before, for a server that comes back */
  async start(port = this.#port): Promise<this> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, '127.0.0.1', resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A client with every right. */
  client(timing: Partial<ApiTiming> = {}, token = ADMIN_TOKEN): ApiClient {
    return new ApiClient({ url: this.url, credential: fixedToken(token) }, timing);
  }

  /** Puts an object there, or in the place of what there is. */
  put(object: FakeObject): FakeObject {
    return this.#api.put(object);
  }

  remove(object: FakeObject): void {
    this.#api.remove(object);
  }

  /** Takes the server away: every connection is reset and no new one is accepted until {@link start}. */
  async stop(): Promise<void> {
    for (const watch of this.watches) watch.reset();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#server.listening) await this.stop();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://fake');
    const method = request.method ?? 'GET';
    this.requests.push(`${method} ${url.pathname}${url.search}`);
    const body = await bodyOf(request);
    const watch = ['true', '1'].includes(url.searchParams.get('watch') ?? '');
    const fault = this.faults.take({ method, path: url.pathname, query: url.searchParams, watch });
    try {
      if (fault?.kind === 'silence') return;
      if (fault?.kind === 'reset') return void request.socket.resetAndDestroy();
      if (fault?.kind === 'status') return failWith(response, fault);
      const user = this.#tokens.user(request.headers.authorization);
      if (watch) this.#watch(url, response, user);
      else {
        const type = request.headers['content-type'] ?? '';
        const { status, value } = this.#api.handle(method, url, body, type, user);
        await this.#send(response, status, JSON.stringify(value), fault);
      }
    } catch (error) {
      if (!(error instanceof FakeStatus)) throw error;
      await this.#send(response, error.code, JSON.stringify(error.body), fault);
    }
  }

  #watch(url: URL, response: ServerResponse, user: FakeUser): void {
    const watch = new FakeWatch(url.pathname, response);
    const opened = this.#api.watch(url, user, watch);
    response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
    response.flushHeaders();
    const stop = opened.start();
    this.watches.add(watch);
    const bookmarks = opened.bookmarks
      ? setInterval(
          () => watch.bookmark(opened.kind, opened.apiVersion, this.store.version),
          this.#bookmarkMs,
        )
      : undefined;
    const seconds = Number(url.searchParams.get('timeoutSeconds') ?? 3600);
    const timer = setTimeout(() => watch.end(), seconds * 1000);
    response.on('close', () => {
      stop();
      clearInterval(bookmarks);
      clearTimeout(timer);
      this.watches.delete(watch);
    });
  }

  async #send(
    response: ServerResponse,
    status: number,
    text: string,
    fault: Fault | undefined,
  ): Promise<void> {
    response.writeHead(status, { 'content-type': 'application/json' });
    if (fault?.kind === 'truncated') {
      response.write(text.slice(0, fault.bytes));
      setTimeout(() => response.socket?.destroy(), 20);
      return;
    }
    if (fault?.kind === 'slow') {
      for (let at = 0; at < text.length && !this.#closing.signal.aborted; at += fault.pieceBytes) {
        response.write(text.slice(at, at + fault.pieceBytes));
        await sleep(fault.pauseMs);
      }
      response.end();
      return;
    }
    response.end(text);
  }
}

function failWith(response: ServerResponse, fault: Extract<Fault, { kind: 'status' }>): void {
  const { status, retryAfter, body } = fault;
  const reason = status === 410 ? 'Expired' : status === 429 ? 'TooManyRequests' : 'InternalError';
  response.writeHead(status, {
    'content-type': 'application/json',
    ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
  });
  response.end(body ?? JSON.stringify(new FakeStatus(status, reason, `a fault of the test: ${status}`).body));
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return chunks.length === 0
    ? {}
    : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>);
}
