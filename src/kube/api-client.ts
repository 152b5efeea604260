import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Agent, buildConnector, type Dispatcher } from 'undici';
import { messageOf } from '../errors.ts';
import { ApiError, apiErrorOf } from './api-error.ts';
import { type Credential, NO_CREDENTIAL } from './credential.ts';

/** An API server and how to get in. */
export interface ApiServer {
  /** `https://10.96.0.1:443`, without a path behind it. */
  readonly url: string;
  /** Whom to believe, PEM; undefined: the authorities of the machine. */
  readonly ca?: string | Buffer | undefined;
  /** The same in a file, read anew for every connection: clusters change their authority. */
  readonly caFile?: string | undefined;
  /** Client certificate and its key, PEM. */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  /** Name in the server's certificate, where it is not the one in the address. */
  readonly serverName?: string | undefined;
  /** Believes anybody: what `insecure-skip-tls-verify` of a kubeconfig asks for. */
  readonly insecure?: boolean;
  readonly credential?: Credential;
}

export interface ApiTiming {
  /** How long connecting may take. Milliseconds, as all of these. */
  readonly connectMs: number;
  /** From a request to the head of its answer. The API server itself gives up after 60 s. */
  readonly answerMs: number;
  /** Longest pause within an answer that is no watch. */
  readonly pauseMs: number;
}

export const API_TIMING: ApiTiming = { connectMs: 10_000, answerMs: 65_000, pauseMs: 30_000 };

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  /** Of the body; `application/json` by default. Patches have their own. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** One answer is not more than that: a chunk of 500 of the largest objects. */
const MOST_BYTES = 256 << 20;
const MOST_ERROR_BYTES = 64 << 10;
const MOST_TEXT_BYTES = 64 << 20;

/** Requests to one API server. All errors are {@link ApiError}s that name the server. */
export class ApiClient {
  readonly url: string;
  readonly #agent: Agent;
  readonly #credential: Credential;
  readonly #timing: ApiTiming;

  constructor(server: ApiServer, timing: Partial<ApiTiming> = {}) {
    this.url = server.url.replace(/\/+$/, '');
    this.#credential = server.credential ?? NO_CREDENTIAL;
    this.#timing = { ...API_TIMING, ...timing };
    this.#agent = new Agent({
      // A request that fails is for the caller to repeat; a second one on the same connection must never wait behind a watch.
      pipelining: 1,
      headersTimeout: this.#timing.answerMs,
      bodyTimeout: this.#timing.pauseMs,
      connect: connectorOf(server, this.#timing),
    });
  }

  /** Sends a request and reads the JSON that comes back. Throws an {@link ApiError} for any status other than 2xx. */
  async request(method: Method, path: string, options: RequestOptions = {}): Promise<unknown> {
    const { body } = await this.#send(method, path, options);
    const text = await this.#text(body, MOST_BYTES);
    try {
      return JSON.parse(text) as unknown;
    } catch (error) {
      throw new ApiError(`${this.url} answered ${method} ${path} with something that is no JSON`, {
        cause: error,
      });
    }
  }

  /**
   * Begins and reads an answer that is no JSON: a log, or what a pod answers through the API server's proxy. What a pod answers with an error is no error
   * here; what the API server itself refuses is an {@link ApiError}.
   */
  async getText(
    path: string,
    query: RequestOptions['query'] = {},
  ): Promise<{ status: number; text: string }> {
    const { body, statusCode } = await this.#send('GET', path, { query }, undefined, true);
    const text = await this.#text(body, MOST_TEXT_BYTES);
    if (statusCode >= 300 && /"kind":\s*"Status"/.test(text.slice(0, 1_000)))
      throw apiErrorOf(statusCode, text, undefined);
    return { status: statusCode, text };
  }

  get(path: string, query: RequestOptions['query'] = {}, signal?: AbortSignal): Promise<unknown> {
    return this.request('GET', path, signal === undefined ? { query } : { query, signal });
  }

  /** `POST` of an object to the path of its list. 409 `AlreadyExists`: the name is taken. */
  create(path: string, object: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.request('POST', path, signal === undefined ? { body: object } : { body: object, signal });
  }

  /**
   * Begins an answer that does not end, such as a watch.
   * @param pauseMs without a byte for that long it breaks off, with an error
   */
  async stream(
    path: string,
    query: RequestOptions['query'],
    pauseMs: number,
    signal: AbortSignal,
  ): Promise<Readable> {
    return (await this.#send('GET', path, { query: query ?? {}, signal }, pauseMs)).body;
  }

  /** Cuts everything that is under way. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #send(
    method: Method,
    path: string,
    { query = {}, body, contentType = 'application/json', signal }: RequestOptions,
    pauseMs?: number,
    anyStatus = false,
  ): Promise<{ body: Readable; statusCode: number }> {
    const authorization = await this.#credential.header();
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#agent.request({
        origin: this.url,
        path: path + queryText(query),
        method,
        headers: {
          accept: anyStatus ? '*/*' : 'application/json',
          'user-agent': 'countersign',
          ...(authorization === undefined ? {} : { authorization }),
          ...(body === undefined ? {} : { 'content-type': contentType }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        ...(pauseMs === undefined ? {} : { bodyTimeout: pauseMs }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      throw new ApiError(`${this.url} cannot be reached: ${reasonOf(error)}`, { cause: error });
    }
    if (anyStatus || (answer.statusCode >= 200 && answer.statusCode < 300)) return answer;
    if (answer.statusCode === 401) this.#credential.rejected();
    const { 'retry-after': retryAfter } = answer.headers;
    const said = await this.#text(answer.body, MOST_ERROR_BYTES).catch(() => '');
    throw apiErrorOf(answer.statusCode, said, typeof retryAfter === 'string' ? retryAfter : undefined);
  }

  async #text(body: Readable, most: number): Promise<string> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > most) throw new Error(`more than ${most} bytes in one answer`);
        chunks.push(chunk);
      }
    } catch (error) {
      throw new ApiError(`${this.url} broke off: ${reasonOf(error)}`, { cause: error });
    }
    return Buffer.concat(chunks).toString('utf8');
  }
}

function connectorOf(server: ApiServer, timing: ApiTiming): buildConnector.connector {
  const options = {
    timeout: timing.connectMs,
    // Without this a dead peer is noticed by nobody as long as nothing is sent.
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    ...(server.ca === undefined ? {} : { ca: server.ca }),
    ...(server.cert === undefined ? {} : { cert: server.cert }),
    ...(server.key === undefined ? {} : { key: server.key }),
    ...(server.serverName === undefined ? {} : { servername: server.serverName }),
    ...(server.insecure === true ? { rejectUnauthorized: false } : {}),
  };
  const { caFile } = server;
  if (caFile === undefined) return buildConnector(options);
  return (target, callback) => {
    let ca: Buffer;
    try {
      ca = readFileSync(caFile);
    } catch (error) {
      callback(error as Error, null);
      return;
    }
    buildConnector({ ...options, ca })(target, callback);
  };
}

function queryText(query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? '' : `?${new URLSearchParams(given).toString()}`;
}

/** undici hides the reason of a failed connection in `cause`, or in one of several errors where it tried several addresses. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return messageOf(error) || (error instanceof Error ? error.name : 'no reason is known');
}
