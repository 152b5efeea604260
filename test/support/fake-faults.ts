import type { ServerResponse } from 'node:http';

/** A request as a fault sees it. */
export interface FakeRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly watch: boolean;
}

/** What goes wrong with a request. */
export type Fault =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfter?: number; readonly body?: string }
  /** The connection is reset before an answer. */
  | { readonly kind: 'reset' }
  /** Nothing is ever answered. */
  | { readonly kind: 'silence' }
  /** The answer ends in the middle, without an end of the chunked body. */
  | { readonly kind: 'truncated'; readonly bytes: number }
  /** The answer comes in small pieces with a pause between them. */
  | { readonly kind: 'slow'; readonly pieceBytes: number; readonly pauseMs: number };

interface Planned {
  readonly fault: Fault;
  readonly matches: (request: FakeRequest) => boolean;
  times: number;
}

/** Faults that wait for their request. */
export class FaultPlan {
  readonly #planned: Planned[] = [];

  /** Lets the next `times` requests that match fail. @returns the way to end that before */
  add(fault: Fault, matches: (request: FakeRequest) => boolean = () => true, times = 1): () => void {
    const planned = { fault, matches, times };
    this.#planned.push(planned);
    return () => void (planned.times = 0);
  }

  take(request: FakeRequest): Fault | undefined {
    const found = this.#planned.find((one) => one.times > 0 && one.matches(request));
    if (found !== undefined) found.times--;
    return found?.fault;
  }
}

/** A watch that is open, in the hands of a test. */
export class FakeWatch {
  readonly path: string;
  /** Nothing more is sent, and the connection stays: half-open. */
  silent = false;
  readonly #response: ServerResponse;

  constructor(path: string, response: ServerResponse) {
    this.path = path;
    this.#response = response;
  }

  send(event: object): void {
    if (!this.silent && !this.#response.writableEnded && !this.#response.destroyed)
      this.#response.write(`${JSON.stringify(event)}\n`);
  }

  bookmark(kind: string, apiVersion: string, version: number, annotations?: Record<string, string>): void {
    const metadata = {
      resourceVersion: String(version),
      ...(annotations === undefined ? {} : { annotations }),
    };
    this.send({ type: 'BOOKMARK', object: { kind, apiVersion, metadata } });
  }

  /** The server's own end, as after `timeoutSeconds`. */
  end(): void {
    this.#response.end();
  }

  reset(): void {
    const { socket } = this.#response;
    // Whose caller has ended is being shut down, and Node.js never closes a socket that is reset at that moment.
    if (socket?.writableEnded === true) socket.destroy();
    else socket?.resetAndDestroy();
  }

  /** Half an event, then the end. */
  truncate(reset = false): void {
    this.#response.write('{"type":"MODIFIED","object":{"kind":"Pod","meta');
    if (reset) setImmediate(() => this.reset());
    else this.end();
  }

  /** What a server says whose history was compacted. */
  expire(): void {
    const message = 'too old resource version: 1 (2)';
    this.send({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message } });
    this.end();
  }
}
