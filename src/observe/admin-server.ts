import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Endpoint } from '../lib/address.ts';
import { formatEndpoint } from '../lib/address.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';

/** An answer to a request. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers by method and path. A request's body is handed over when it is small. */
export type Routes = Readonly<Record<string, (body: string) => Answer | Promise<Answer>>>;

const MAX_BODY_BYTES = 1024;
const MAX_CONNECTIONS = 64;

/** A small HTTP server that serves a fixed set of paths, with limits on everything that a client may hold. */
export class AdminServer {
  readonly #server: Server;

  constructor(routes: Routes) {
    this.#server = createServer(
      {
        headersTimeout: 5_000,
        requestTimeout: 10_000,
        keepAliveTimeout: 15_000,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: 8 << 10,
      },
      (request, response) => void answer(routes, request, response),
    );
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Throws a `UserError` when the address cannot be had. */
  async listen(endpoint: Endpoint): Promise<void> {
    await this.#listen({ host: endpoint.address, port: endpoint.port }, formatEndpoint(endpoint));
  }

  /** On a unix socket that only its owner may use. One that a dead process left is replaced. */
  async listenUnix(path: string): Promise<void> {
    rmSync(path, { force: true });
    await this.#listen({ path }, path);
    chmodSync(path, 0o600);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #listen(options: object, name: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(new UserError(`cannot listen on ${name}: ${messageOf(error)}`, { exitCode: EXIT.failure }));
      });
      this.#server.listen(options, resolve);
    });
  }
}

async function answer(routes: Routes, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
  let given: Answer;
  try {
    const handler = routes[`${method} ${path}`];
    if (handler === undefined) {
      const other = Object.keys(routes).some((route) => route.endsWith(` ${path}`));
      const paths = [...new Set(Object.keys(routes).map((route) => route.split(' ')[1]))].join(' ');
      given = other ? text(405, `not with ${method}\n`) : text(404, `there is ${paths}\n`);
    } else {
      given = await handler(await bodyOf(request));
    }
  } catch (error) {
    given = text(500, `${messageOf(error)}\n`);
  }
  response.writeHead(given.status, {
    'content-type': given.contentType,
    'content-length': Buffer.byteLength(given.body),
  });
  response.end(request.method === 'HEAD' ? undefined : given.body);
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) {
    body += String(chunk);
    if (body.length > MAX_BODY_BYTES) throw new UserError(`more than ${MAX_BODY_BYTES} bytes`);
  }
  return body;
}

/** A plain answer. */
export function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

export function json(status: number, value: unknown): Answer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value)}\n` };
}
