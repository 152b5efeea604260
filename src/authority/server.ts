import {
  constants,
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { API_VERSION, LIMITS, PATHS, PROOF_HEADER } from '../authority-protocol/limits.ts';
import { LineReader } from '../authority-protocol/line-reader.ts';
import { verifyRequest } from '../authority-protocol/request-proof.ts';
import type { CertifiedKey } from '../certificates/certificate-authority.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { toCompact } from '../identity/compact.ts';
import { parseTrustBundle, thumbprint } from '../identity/trust.ts';
import { TokenVerifier } from '../identity/verify.ts';
import { type Endpoint, formatEndpoint } from '../lib/address.ts';
import { bindable } from '../bindable.ts';
import type { Issued, Issuer } from './issuer.ts';
import { RateLimit } from './rate-limit.ts';
import type { Streams } from './streams.ts';
import type { Refusal } from './token-review.ts';
import { UsedProofs } from './used-proofs.ts';

const MOST_CONNECTIONS = 10_000;
const MOST_PER_SOURCE = 64;
const REQUEST_MS = 10_000;
const IDLE_MS = 120_000;
const PING_MS = 15_000;

export interface AuthorityServerOptions {
  readonly issuer: Issuer;
  readonly streams: Streams;
  /** The own keys alone: identities of other domains are worth nothing here. */
  readonly trust: () => object;
  /** What everybody may know, other trust domains too: those keys, and `authorities`, by whose certificates this server is believed. */
  readonly published: () => object;
  /** When the tokens of a pod are dead that were issued before; seconds since the epoch. */
  readonly markOf: (podUid: string) => number | undefined;
  /** RFC 7638 thumbprint of the key that counts for a pod. */
  readonly keyOf: (podUid: string) => string | undefined;
  readonly onAnswer: (path: keyof typeof PATHS | 'other', code: string) => void;
  readonly onDefect: (error: unknown) => void;
  /** A connection on which nothing is open ends after so many milliseconds. */
  readonly idleMs?: number;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

const ROUTES = new Map<string, keyof typeof PATHS>([
  [`GET ${PATHS.jwks}`, 'jwks'],
  [`POST ${PATHS.identity}`, 'identity'],
  [`POST ${PATHS.stream}`, 'stream'],
]);

type Answer = Issued | Refusal | { readonly status: number; readonly code: string; readonly detail: string };

/** The HTTPS server of an authority: HTTP/2 alone, bounded in everything that a client may hold. */
export class AuthorityServer {
  readonly #options: AuthorityServerOptions;
  readonly #server: Http2SecureServer;
  readonly #strangers = new RateLimit({ burst: 50, perSecond: 10, names: 20_000 });
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #sockets = new Map<string, Set<Socket>>();
  #connections = 0;
  readonly #proofs = new UsedProofs();
  #bundle: { readonly of: object; readonly verifier: TokenVerifier } | undefined;

  constructor(options: AuthorityServerOptions, certificate: CertifiedKey) {
    this.#options = options;
    this.#server = createSecureServer({
      cert: certificate.certificate,
      key: certificate.key,
      minVersion: 'TLSv1.3',
      handshakeTimeout: REQUEST_MS,
      maxHeaderListPairs: 32,
      settings: { maxConcurrentStreams: 8, enablePush: false, maxHeaderListSize: 32 << 10 },
    });
    this.#server.on('connection', (socket: Socket) => this.#take(socket));
    this.#server.on('session', (session) => this.#follow(session));
    this.#server.on('stream', (stream, headers) => {
      stream.on('error', () => {});
      this.#serve(stream, headers).catch((error: unknown) => {
        options.onDefect(error);
        if (!stream.destroyed) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      });
    });
    this.#server.on('tlsClientError', () => {});
    this.#server.on('sessionError', () => {});
  }

  get connections(): number {
    return this.#connections;
  }

  /** `::` is every address of both families. Throws a `UserError` when the address cannot be had. */
  async listen(endpoint: Endpoint): Promise<Endpoint> {
    await new Promise<void>((resolve, reject) => {
      this.#server.on('error', (error: Error) => {
        const name = formatEndpoint(endpoint);
        reject(new UserError(`cannot listen on ${name}: ${messageOf(error)}`, { exitCode: EXIT.failure }));
      });
      this.#server.listen(endpoint.port, bindable(endpoint.address), resolve);
    });
    return { ...endpoint, port: (this.#server.address() as AddressInfo).port };
  }

  /** For connections from now on. */
  useCertificate({ certificate, key }: CertifiedKey): void {
    this.#server.setSecureContext({ cert: certificate, key, minVersion: 'TLSv1.3' });
  }

  /** Cuts everything. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const session of this.#sessions) session.destroy();
    for (const held of this.#sockets.values()) for (const socket of held) socket.destroy();
    await closed;
  }

  #take(socket: Socket): void {
    const source = socket.remoteAddress ?? '';
    const held = this.#sockets.get(source) ?? new Set();
    if (held.size >= MOST_PER_SOURCE || this.#connections >= MOST_CONNECTIONS) {
      socket.destroy();
      return;
    }
    this.#sockets.set(source, held.add(socket));
    this.#connections++;
    socket.once('close', () => {
      this.#connections--;
      held.delete(socket);
      if (held.size === 0 && this.#sockets.get(source) === held) this.#sockets.delete(source);
    });
  }

  #follow(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    // A peer that vanished without a word is noticed by a ping without an answer.
    let waiting = false;
    const ping = setInterval(() => {
      if (waiting) return session.destroy();
      waiting = true;
      if (!session.destroyed) session.ping(() => (waiting = false));
    }, PING_MS).unref();
    // Counted by requests: pings, which anybody may send, are no reason to stay.
    const { idleMs = IDLE_MS } = this.#options;
    let open = 0;
    const rest = (): NodeJS.Timeout => setTimeout(() => session.destroy(), idleMs).unref();
    let idle = rest();
    session.on('stream', (stream) => {
      open++;
      clearTimeout(idle);
      stream.once('close', () => {
        if (--open === 0 && !session.destroyed) idle = rest();
      });
    });
    session.on('error', () => {});
    session.on('close', () => {
      clearInterval(ping);
      clearTimeout(idle);
      this.#sessions.delete(session);
    });
  }

  async #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const route = `${String(headers[':method'])} ${String(headers[':path'])}`;
    const path = ROUTES.get(route) ?? 'other';
    if (!this.#admit(stream)) return this.#answer(stream, path, TOO_MANY);
    switch (path) {
      case 'jwks':
        return this.#answer(
          stream,
          'jwks',
          { status: 201, body: this.#options.published(), podUid: '' },
          200,
        );
      case 'identity':
        return this.#identity(stream, headers);
      case 'stream':
        return this.#stream(stream, headers);
      case 'other':
        return this.#answer(stream, 'other', error(404, 'malformed', noPath(String(headers[':path']))));
    }
  }

  async #identity(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    const body = await bodyOf(stream);
    if (body === undefined) {
      return this.#answer(
        stream,
        'identity',
        error(400, 'malformed', `a body of at most ${LIMITS.body} bytes`),
      );
    }
    const proof = headers[PROOF_HEADER];
    const answer = await this.#options.issuer.issue({
      token: bearer(headers),
      proof: typeof proof === 'string' ? proof : undefined,
      body,
    });
    this.#answer(stream, 'identity', answer);
  }

  async #stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Promise<void> {
    // Lines may follow the head at once; nothing is lost while the head is judged.
    stream.pause();
    const who = await this.#whose(headers);
    if ('status' in who) return this.#answer(stream, 'stream', who);
    if (stream.destroyed) return;
    this.#options.onAnswer('stream', 'ok');
    stream.respond({ ':status': 200, 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    const { onLine, onClose } = this.#options.streams.open(who.podUid, who.key, {
      write: (line) => {
        if (!stream.writable) return 0;
        stream.write(line);
        return stream.writableLength;
      },
      end: (code) => {
        this.#options.onAnswer('stream', code);
        stream.close(constants.NGHTTP2_CANCEL);
      },
    });
    const lines = new LineReader(LIMITS.lineUp);
    stream.on('data', (chunk: Buffer) => {
      const read = lines.push(chunk);
      if (read === undefined) stream.close(constants.NGHTTP2_CANCEL);
      else for (const line of read) if (!stream.destroyed) onLine(line);
    });
    stream.on('close', onClose);
    stream.resume();
  }

  /** The pod that an own identity with its proof speaks for. */
  async #whose(
    headers: IncomingHttpHeaders,
  ): Promise<{ podUid: string; key: string } | Refusal | ReturnType<typeof error>> {
    const { streams, trust, markOf, keyOf } = this.#options;
    const now = this.#options.now?.() ?? Date.now() / 1000;
    if (streams.lookup === undefined) return error(503, 'not-ready', 'the cluster has not been read yet');
    const token = bearer(headers);
    const proof = headers[PROOF_HEADER];
    if (token === undefined || typeof proof !== 'string') {
      return error(
        401,
        'identity-invalid',
        'authorization: Bearer with the own identity and a proof are needed',
      );
    }
    const proven = await verifyRequest(proof, { method: 'POST', path: PATHS.stream, body: '', token }, now);
    if (typeof proven === 'string') return error(401, 'proof-invalid', proven);
    if (!this.#proofs.use(proven)) return error(401, 'proof-invalid', 'the proof was used before');
    const bundle = trust();
    if (this.#bundle?.of !== bundle) {
      const verifier = new TokenVerifier(parseTrustBundle(JSON.stringify(bundle), 'the own trust bundle'));
      this.#bundle = { of: bundle, verifier };
    }
    let wire: Uint8Array;
    try {
      wire = toCompact(token);
    } catch {
      return error(401, 'identity-invalid', 'the identity is no JWT');
    }
    const verified = this.#bundle.verifier.verify(wire, now);
    if ('refusal' in verified) {
      return error(401, 'identity-invalid', `${verified.refusal.reason}: ${verified.refusal.detail}`);
    }
    const { identity } = verified;
    if (thumbprint(identity.key) !== proven.thumbprint) {
      return error(401, 'identity-invalid', 'the identity names another key than the proof');
    }
    const { podUid } = identity;
    const recorded = keyOf(podUid);
    if (
      identity.issuedAt < (markOf(podUid) ?? 0) ||
      (recorded !== undefined && recorded !== proven.thumbprint)
    ) {
      return error(401, 'identity-invalid', 'another key has replaced the one of this identity');
    }
    const pod = streams.lookup.podsByUid.get(podUid);
    if (pod?.finished === true) return error(403, 'pod-gone', 'the pod has ended');
    return { podUid, key: proven.thumbprint };
  }

  #admit(stream: ServerHttp2Stream): boolean {
    return this.#strangers.take(stream.session?.socket.remoteAddress ?? '', performance.now() / 1000);
  }

  #answer(
    stream: ServerHttp2Stream,
    path: keyof typeof PATHS | 'other',
    answer: Answer,
    status?: number,
  ): void {
    const done = 'body' in answer;
    this.#options.onAnswer(path, done ? 'ok' : answer.code);
    if (stream.destroyed || stream.headersSent) return;
    const body = JSON.stringify(done ? answer.body : { error: answer.code, detail: answer.detail });
    stream.respond({
      ':status': status ?? answer.status,
      'content-type': 'application/json',
      'cache-control': 'no-store',
      ...(answer.status === 429 ? { 'retry-after': '30' } : {}),
    });
    stream.end(`${body}\n`);
    // A request that was not read to its end is over all the same (RFC 9113 section 8.1): a sidecar leaves that of its stream open.
    stream.once('finish', () => stream.close(constants.NGHTTP2_NO_ERROR));
  }
}

/** A sidecar whose neighbouring release speaks another version is told so; it logs what stands here. */
function noPath(path: string): string {
  const version = /^\/v(\d{1,4})\//.exec(path)?.[1];
  if (version === undefined || Number(version) === API_VERSION) return 'there is no such path';
  return `this authority speaks version ${API_VERSION}, and was asked for version ${version}: upgrade the older of the two`;
}

const TOO_MANY = error(429, 'too-many-requests', 'too many requests from this address');

function error(status: number, code: string, detail: string) {
  return { status, code, detail };
}

function bearer(headers: IncomingHttpHeaders): string | undefined {
  return /^Bearer ([\x21-\x7e]{1,16384})$/i.exec(headers.authorization ?? '')?.[1];
}

/** The whole body; undefined when it is too large. Whoever sends it too slowly is cut off. */
function bodyOf(stream: ServerHttp2Stream): Promise<string | undefined> {
  return new Promise((resolve) => {
    const late = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), REQUEST_MS);
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (body: string | undefined): void => {
      clearTimeout(late);
      resolve(body);
    };
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      // Read to the end all the same, so that the answer arrives; the window bounds how fast, the deadline how long.
      if (size <= LIMITS.body) chunks.push(chunk);
    });
    stream.on('end', () => done(size <= LIMITS.body ? Buffer.concat(chunks).toString('utf8') : undefined));
    stream.on('close', () => done(undefined));
  });
}
