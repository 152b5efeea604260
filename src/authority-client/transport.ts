import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { LIMITS } from '../authority-protocol/limits.ts';
import { messageOf, UserError } from '../errors.ts';
import { readSmallFile } from '../identity/file-identity.ts';

const CONNECT_MS = 5_000;
/** How long an answer is waited for. */
export const ANSWER_MS = 20_000;
const PING_MS = 10_000;
/** Why the name of a Service is not found, most of the time. */
const NO_NAME =
  "the pod's DNS does not know the Services of the cluster, or nobody answers it: look at spec.dnsPolicy and at egress to DNS";

/** By which certificates an authority is believed: those of the file, read again every time, and those that an authority told. */
export class TrustAnchors {
  readonly #file: string;
  #told = '';

  constructor(file: string) {
    this.#file = file;
  }

  /** What an authority that is believed says from now on. */
  tell(pem: string): void {
    if (pem.includes('-----BEGIN CERTIFICATE-----') && pem.length <= 1 << 20) this.#told = pem;
  }

  /** PEM. Throws a `UserError` when there is none at all. */
  async bundle(): Promise<string> {
    let file = '';
    try {
      file = await readSmallFile(this.#file);
    } catch (error) {
      if (this.#told === '') throw error;
    }
    const all = `${file}\n${this.#told}`;
    if (!all.includes('-----BEGIN CERTIFICATE-----')) {
      throw new UserError(`${this.#file}: holds no certificate by which the authority could be believed`);
    }
    return all;
  }
}

/**
 * Connects and verifies the server. Nothing is sent to one that is not believed. Throws a `UserError` that says why not.
 * @param from own address to connect from; undefined: the system chooses
 */
export async function openSession(url: string, ca: string, from?: string): Promise<ClientHttp2Session> {
  const session = connect(url, {
    ca,
    ...(from === undefined ? {} : { localAddress: from }),
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
    settings: { enablePush: false },
    maxSessionMemory: 64,
  });
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string): void => {
      session.destroy();
      reject(new UserError(`${url}: ${why}`));
    };
    const late = setTimeout(() => fail(`no connection within ${CONNECT_MS / 1000} s`), CONNECT_MS);
    session.once('connect', () => {
      clearTimeout(late);
      resolve();
    });
    session.on('error', (error) => {
      clearTimeout(late);
      const { code } = error as NodeJS.ErrnoException;
      const unknown = code === 'ENOTFOUND' || code === 'EAI_AGAIN';
      fail(`${messageOf(error)}${unknown ? `; ${NO_NAME}` : ''}`);
    });
  });
  let waiting = false;
  const ping = setInterval(() => {
    if (waiting || session.destroyed) return session.destroy();
    waiting = true;
    session.ping(() => (waiting = false));
  }, PING_MS).unref();
  session.once('close', () => clearInterval(ping));
  return session;
}

export interface Answered {
  readonly status: number;
  readonly body: string;
  readonly retryAfterMs: number;
}

/** One request with its whole answer, bounded in time and size. */
export function post(
  session: ClientHttp2Session,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string,
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': path, ...headers });
    const late = setTimeout(() => {
      reject(new UserError(`no answer within ${ANSWER_MS / 1000} s`));
      stream.close(constants.NGHTTP2_CANCEL);
    }, ANSWER_MS);
    const chunks: Buffer[] = [];
    let size = 0;
    let status = 0;
    let retryAfterMs = 0;
    stream.on('response', (head) => {
      status = Number(head[':status']);
      retryAfterMs = Math.min(600, Number(head['retry-after'] ?? 0) || 0) * 1000;
    });
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > LIMITS.lineDown) stream.close(constants.NGHTTP2_CANCEL);
      else chunks.push(chunk);
    });
    stream.on('error', (error) => reject(new UserError(messageOf(error))));
    stream.on('close', () => {
      clearTimeout(late);
      if (status === 0) reject(new UserError('the authority broke off'));
      else resolve({ status, body: Buffer.concat(chunks).toString('utf8'), retryAfterMs });
    });
    stream.end(body);
  });
}

/** What a refusal says, for people. */
export function refusalText({ status, body }: Answered): string {
  try {
    const { error, detail } = JSON.parse(body) as { error?: unknown; detail?: unknown };
    if (typeof error === 'string' && typeof detail === 'string') return `${error}: ${detail}`.slice(0, 400);
  } catch {
    // It is no answer of an authority.
  }
  return `HTTP ${status}`;
}
