import { lstatSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { EXIT, messageOf, UserError } from '../errors.ts';
import type { Endpoint } from '../lib/address.ts';
import { formatEndpoint } from '../lib/address.ts';
import { bindable } from '../bindable.ts';
import { ConnectionPlaces } from './connection-places.ts';

/** An answer to a request. */
export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Answers by method and path (`GET /healthz`; HEAD comes with GET). A request's body is handed over when it is small, and what stands behind the `?`. */
export type Routes = Readonly<Record<string, (body: string, query: string) => Answer | Promise<Answer>>>;

const MAX_BODY_BYTES = 1024;
const MAX_CONNECTIONS = 64;
/** `sun_path` of unix(7) without its terminating zero. */
const MAX_SOCKET_PATH = 107;
const LIMITS = {
  headersTimeout: 5_000,
  requestTimeout: 10_000,
  keepAliveTimeout: 15_000,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8 << 10,
} as const;

/** A small HTTP server that serves a fixed set of paths, with limits on everything that a client may hold. */
export class AdminServer {
  readonly #server: Server;
  readonly #places = new ConnectionPlaces(MAX_CONNECTIONS);

  /** @param onDefect told of an error that a route threw; the client learns that there was one, and no more */
  constructor(routes: Routes, onDefect: (error: unknown) => void = () => {}) {
    this.#server = createServer(
      LIMITS,
      (request, response) => void answer(routes, request, response, onDefect),
    );
    this.#server.maxRequestsPerSocket = 1_000;
    this.#server.on('connection', (socket) => this.#places.take(socket));
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#places.size;
  }

  /**
   * `::` is every address of both families. Throws a `UserError` when the address cannot be
   * had. Gives the address with the port that was chosen for port 0.
   */
  async listen(endpoint: Endpoint): Promise<Endpoint> {
    const { address, port } = endpoint;
    await this.#listen({ host: bindable(address), port }, formatEndpoint(endpoint));
    const bound = this.#server.address();
    return bound === null || typeof bound === 'string' ? endpoint : { ...endpoint, port: bound.port };
  }

  /**
   * On a unix socket that only its owner may use. One that a dead process left is replaced; anything else at that path is not
   * touched, and a `UserError`.
   */
  async listenUnix(path: string): Promise<void> {
    if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
      throw new UserError(`${path}: the path of a unix socket has at most ${MAX_SOCKET_PATH} bytes`);
    }
    await removeStaleSocket(path);
    // The socket is made while listen() runs; a chmod afterwards would leave a moment in which others may connect.
    const umask = process.umask(0o177);
    let listening: Promise<void>;
    try {
      listening = this.#listen({ path }, path);
    } finally {
      process.umask(umask);
    }
    await listening;
  }

  /** Cuts what is open and frees the address. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#places.closeAll();
    await closed;
  }

  #listen(options: object, name: string): Promise<void> {
    return new Promise((resolve, reject) => {
      // Stays: later errors are of single connections (no descriptor left to accept one), which must not end the process.
      this.#server.on('error', (error) => {
        reject(new UserError(`cannot listen on ${name}: ${messageOf(error)}`, { exitCode: EXIT.failure }));
      });
      this.#server.listen(options, resolve);
    });
  }
}

async function answer(
  routes: Routes,
  request: IncomingMessage,
  response: ServerResponse,
  onDefect: (error: unknown) => void,
): Promise<void> {
  const [path = '/', query = ''] = (request.url ?? '/').split('?', 2);
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
  const key = `${method} ${path}`;
  let given: Answer;
  if (Object.hasOwn(routes, key)) {
    try {
      given = await routes[key]!(method === 'GET' ? '' : await bodyOf(request), query);
    } catch (error) {
      given = error instanceof UserError ? text(400, `${error.message}\n`) : text(500, 'internal error\n');
      if (!(error instanceof UserError)) onDefect(error);
    }
  } else {
    given = noRoute(routes, path, response);
  }
  response.writeHead(given.status, {
    'content-type': given.contentType,
    'content-length': Buffer.byteLength(given.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // A body that nobody reads would stand in the way of the next request.
    ...(request.complete ? {} : { connection: 'close' }),
  });
  response.end(request.method === 'HEAD' ? undefined : given.body);
}

function noRoute(routes: Routes, path: string, response: ServerResponse): Answer {
  const known = Object.keys(routes).map((route) => route.split(' '));
  const methods = known.flatMap(([method = '', other]) => (other === path ? [method] : []));
  if (methods.length > 0) {
    response.setHeader(
      'allow',
      methods.flatMap((one) => (one === 'GET' ? ['GET', 'HEAD'] : [one])).join(', '),
    );
    return text(405, `this path takes ${methods.join(', ')}\n`);
  }
  return text(404, `there is ${[...new Set(known.map(([, other]) => other))].join(' ')}\n`);
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new UserError(`the body has more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new UserError(`${path} is there and is no socket; name another path or remove it`);
  }
  const answered = await new Promise<boolean>((resolve) => {
    const socket = connect({ path }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
  if (answered) throw new UserError(`${path} is in use by another process`, { exitCode: EXIT.failure });
  rmSync(path, { force: true });
}

/** A plain answer. */
export function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body };
}

export function json(status: number, value: unknown): Answer {
  return { status, contentType: 'application/json', body: `${JSON.stringify(value)}\n` };
}
