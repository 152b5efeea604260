import { type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { messageOf } from '../errors.ts';
import type { Endpoint } from '../lib/address.ts';
import { bindable } from '../bindable.ts';

/** The largest object of etcd is 1.5 MiB; a review of an update holds two. */
const MOST_BYTES = 4 << 20;
/** The API server waits 5 s (`timeoutSeconds`); whoever is slower than that has left. */
const ANSWER_MS = 4_500;
const LIMITS = {
  // The API server keeps connections for as long as we do; a shorter time than its own would reset some in the middle of a request.
  keepAliveTimeout: 90_000,
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  maxHeaderSize: 16 << 10,
  connectionsCheckingInterval: 1_000,
} as const;
const MOST_CONNECTIONS = 512;

/** PEM. */
export interface ServingPair {
  readonly certificate: string;
  readonly key: string;
}

export interface WebhookServerOptions {
  readonly pair: ServingPair;
  /** Paths, each with what answers a parsed body. A throw is answered with status 500, which the API server takes for «not admitted». */
  readonly routes: Readonly<Record<string, (body: unknown) => Promise<object>>>;
  readonly onDefect: (error: unknown) => void;
}

/** The HTTPS server that the API server calls. Everything that a client may hold is bounded; nothing is known by path but the routes. */
export class WebhookServer {
  readonly #server: Server;
  readonly #options: WebhookServerOptions;

  constructor(options: WebhookServerOptions) {
    this.#options = options;
    this.#server = createServer(
      { ...LIMITS, cert: options.pair.certificate, key: options.pair.key, minVersion: 'TLSv1.2' },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('tlsClientError', (_error, socket) => socket.destroy());
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Resolves when TLS is served: not before that is the injector ready. `::` is every address of both families. */
  async listen({ address, port }: Endpoint): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: bindable(address), port }, () => resolve());
    });
    const bound = this.#server.address();
    return bound === null || typeof bound === 'string' ? port : bound.port;
  }

  /** New connections get this certificate; those that are open keep theirs. */
  renew({ certificate, key }: ServingPair): void {
    this.#server.setSecureContext({ cert: certificate, key, minVersion: 'TLSv1.2' });
  }

  /** Answers what is under way, for at most `graceMs`, and ends. */
  async close(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url?.split('?', 1)[0] ?? '';
    const route = Object.hasOwn(this.#options.routes, path) ? this.#options.routes[path] : undefined;
    if (route === undefined) return end(request, response, 404, 'there is nothing here\n');
    if (request.method !== 'POST') return end(request, response, 405, 'POST an AdmissionReview\n');
    const timer = setTimeout(() => request.socket.destroy(), ANSWER_MS);
    try {
      const body = await bodyOf(request);
      if (typeof body === 'string')
        return end(request, response, body === 'large' ? 413 : 400, `the body is ${body}\n`);
      const answer = JSON.stringify(await route(body.value));
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(answer),
      });
      response.end(answer);
    } catch (error) {
      this.#options.onDefect(error);
      end(request, response, 500, `the review failed: ${messageOf(error)}\n`);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function bodyOf(
  request: IncomingMessage,
): Promise<{ value: unknown } | 'large' | 'no JSON' | 'cut off'> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > MOST_BYTES) return 'large';
      chunks.push(chunk);
    }
  } catch {
    return 'cut off';
  }
  try {
    return { value: JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown };
  } catch {
    return 'no JSON';
  }
}

function end(request: IncomingMessage, response: ServerResponse, status: number, text: string): void {
  if (response.headersSent || response.destroyed) return;
  // Whatever of the body was not read must not be taken for the next request.
  const close = request.complete ? {} : { connection: 'close' };
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...close });
  response.end(text);
}
