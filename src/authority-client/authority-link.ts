import { randomBytes } from 'node:crypto';
import type { ClientHttp2Stream } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { API_VERSION, LIMITS, PATHS, PROOF_HEADER } from '../authority-protocol/limits.ts';
import { LineReader } from '../authority-protocol/line-reader.ts';
import { encodeClientMessage, parseServerMessage } from '../authority-protocol/messages.ts';
import { signRequest } from '../authority-protocol/request-proof.ts';
import { messageOf, UserError } from '../errors.ts';
import { readSmallFile } from '../identity/file-identity.ts';
import { keptKey } from '../identity/kept-key.ts';
import { generateOwnKey } from '../identity/keys.ts';
import type { Curves } from '../lib/curves.ts';
import type { EnforcementMode } from '../sources/source.ts';
import { AuthorityIdentity } from './authority-identity.ts';
import { AuthoritySource } from './authority-source.ts';
import { AuthorityConnections } from './connections.ts';
import { ANSWER_MS, post, refusalText, TrustAnchors } from './transport.ts';

export interface AuthorityLinkOptions {
  /** `https://countersign-authority.countersign-system.svc:14443`; several are tried in turn. */
  readonly urls: readonly string[];
  /** Certificates by which the authority is believed, PEM. */
  readonly caFile: string;
  /** What verifies the identities of others. */
  readonly curves?: Curves;
  /** The projected service-account token. */
  readonly tokenFile: string;
  /** Where the own key is kept over restarts; undefined: every run makes one. */
  readonly keyFile?: string | undefined;
  /** The pod that this sidecar stands in, `namespace/name`: what an authority says of any other is refused. */
  readonly pod: string;
  readonly mode: EnforcementMode;
  /** Where the default routes of the own pod lead. */
  readonly gateways?: readonly string[];
  readonly release: string;
  /** Own address to connect from; undefined: the system chooses. */
  readonly from?: string;
  readonly onNews?: (news: string) => void;
  readonly random?: () => number;
}

const BACKOFF = { firstMs: 200, mostMs: 15_000 } as const;
const RENEW_SECONDS = 1_200;

/**
 * The sidecar's side of the authority: gets an identity and renews it, keeps a stream open, moves to another replica when one goes. What it learns is in
 * {@link AuthorityLink.identity} and {@link AuthorityLink.source}; both keep what they have when there is nobody.
 */
export class AuthorityLink {
  readonly identity: AuthorityIdentity;
  readonly source: AuthoritySource;
  readonly #options: AuthorityLinkOptions;
  readonly #anchors: TrustAnchors;
  readonly #end = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly #connections: AuthorityConnections;
  #stream: ClientHttp2Stream | undefined;
  /** Ends the pause before the next renewal. */
  #renewNow = new AbortController();
  #identityRefused = false;
  /** Who waits for an identity looks at once. */
  #onIdentity: () => void = () => {};
  /** The last attempt to get an identity failed. */
  #failed = false;

  constructor(options: AuthorityLinkOptions) {
    this.#options = options;
    this.#anchors = new TrustAnchors(options.caFile);
    const first = Math.floor((options.random ?? Math.random)() * options.urls.length);
    this.#connections = new AuthorityConnections(options.urls, this.#anchors, first, options.from);
    const { pod, keyFile } = options;
    this.identity = new AuthorityIdentity(
      keyFile === undefined ? generateOwnKey() : keptKey(keyFile),
      pod,
      ({ namespace, podName, podUid, issuedAt }) =>
        this.source.noticePeer({ pod: `${namespace}/${podName}`, uid: podUid, issuedAt }),
      (problem) => options.onNews?.(problem),
      options.curves,
    );
    this.source = new AuthoritySource({
      pod,
      mode: options.mode,
      gateways: options.gateways ?? [],
      onStart: () => this.#running.push(this.#keepIdentity(), this.#keepStream()),
      onClose: () => this.#close(),
      onQuestions: (questions) => {
        if (this.#stream?.writable === true) {
          this.#stream.write(encodeClientMessage({ type: 'ask', ...questions }));
        }
      },
    });
    this.identity.subscribe(() => this.#onIdentity());
    this.source.subscribe(() => this.#compareLabels());
  }

  /** Begins to connect, so that the rest of a start happens meanwhile. */
  connect(): void {
    this.#connections.connect();
  }

  async #close(): Promise<void> {
    this.#end.abort();
    this.#renewNow.abort();
    this.#connections.close();
    await Promise.all(this.#running);
  }

  /** Gets an identity, and another one in time; at once when the labels in it are no longer those of the pod. */
  async #keepIdentity(): Promise<void> {
    let failures = 0;
    while (!this.#end.signal.aborted) {
      this.#renewNow = new AbortController();
      let pauseMs: number;
      try {
        const renewAfter = await this.#getIdentity();
        failures = 0;
        this.#failed = false;
        pauseMs = renewAfter * 1000 * (0.9 + this.#random() * 0.1);
        this.#compareLabels(2_000);
      } catch (error) {
        failures++;
        this.#failed = true;
        this.identity.fail(`the authority gives no identity: ${messageOf(error)}`);
        pauseMs = Math.max(this.#backoff(failures), error instanceof Refused ? error.retryAfterMs : 0);
        this.#connections.next();
      }
      await this.#pause(pauseMs, this.#renewNow.signal);
    }
  }

  /** @returns when to renew, seconds */
  async #getIdentity(): Promise<number> {
    const token = (await readSmallFile(this.#options.tokenFile)).trim();
    const body = JSON.stringify({ version: API_VERSION });
    const session = await this.#connections.take();
    let kept = false;
    try {
      const headers = await this.#proof(PATHS.identity, body, token);
      const answer = await post(session, PATHS.identity, headers, body);
      if (answer.status !== 201) throw new Refused(refusalText(answer), answer.retryAfterMs);
      const given = JSON.parse(answer.body) as { token?: unknown; trust?: unknown; renew_after?: unknown };
      if (typeof given.token !== 'string' || typeof given.trust !== 'object' || given.trust === null) {
        throw new UserError('the answer holds no token and trust');
      }
      this.identity.accept(given.token, given.trust);
      if (this.identity.problem !== undefined) throw new UserError(this.identity.problem);
      this.#identityRefused = false;
      // The stream is what waits for the identity: another TLS handshake with the same authority would be for nothing.
      kept = this.#stream === undefined && this.#connections.keep(session);
      const after = Number(given.renew_after ?? RENEW_SECONDS);
      return after >= 1 && after <= 86_400 ? after : RENEW_SECONDS;
    } finally {
      if (!kept) session.close();
    }
  }

  async #keepStream(): Promise<void> {
    let failures = 0;
    while (!this.#end.signal.aborted) {
      const jwt = this.identity.jwt;
      if (jwt === undefined || this.#identityRefused) {
        await this.#identityChanged();
        continue;
      }
      const began = performance.now();
      let why: string;
      try {
        why = await this.#live(jwt);
      } catch (error) {
        why = messageOf(error);
      }
      if (this.#end.signal.aborted) return;
      if (why === BYE) {
        this.#connections.next();
        continue;
      }
      this.#stream = undefined;
      this.source.disconnected(`the authority cannot be reached: ${why}`);
      failures = performance.now() - began > 10_000 ? 1 : failures + 1;
      this.#connections.next();
      // The first try after a loss is made at once: another replica is probably there.
      await this.#pause(failures === 1 ? 0 : this.#backoff(failures - 1), this.#end.signal);
    }
  }

  /** One stream from its beginning to its end. Gives why it ended. */
  async #live(jwt: string): Promise<string> {
    const session = await this.#connections.take();
    const headers = await this.#proof(PATHS.stream, '', jwt);
    const stream = session.request(
      { ':method': 'POST', ':path': PATHS.stream, ...headers },
      { endStream: false },
    );
    const { source, identity } = this;
    return new Promise((resolve) => {
      let refused = '';
      let status = 0;
      const lines = new LineReader(LIMITS.lineDown);
      const late = setTimeout(() => done('no answer in time'), ANSWER_MS);
      const done = (why: string): void => {
        clearTimeout(late);
        resolve(why);
        if (this.#stream === stream && why !== BYE) this.#stream = undefined;
        if (why !== BYE) session.destroy();
      };
      const take = (line: string): void => {
        const message = parseServerMessage(line);
        if (typeof message === 'string') return done(`it sent a line that is none: ${message}`);
        // A stream that was left may still speak; only the newest one counts.
        if (message === undefined || (this.#stream !== stream && message.type !== 'hello')) return;
        if (message.type === 'alive') source.confirm(message.view);
        if (message.type === 'bye') {
          // It serves on until the next one has taken over.
          this.#options.onNews?.('the authority asks to go to another replica');
          setTimeout(() => session.destroy(), 10_000).unref();
          done(BYE);
        }
        if (message.type !== 'state') return;
        try {
          if (message.authorities !== undefined) this.#anchors.tell(message.authorities);
          if (message.trust !== undefined) identity.trustIn(message.trust);
          if (message.marks.length > 0) identity.mark(message.marks);
          source.take(message);
        } catch (error) {
          done(messageOf(error));
        }
      };
      stream.on('response', (head) => {
        status = Number(head[':status']);
        clearTimeout(late);
        // A refusal is over when both sides are: this one has nothing more to say.
        if (status !== 200) return void stream.end();
        this.#stream = stream;
        this.#options.onNews?.('connected to the authority');
        stream.write(
          encodeClientMessage({ type: 'hello', version: API_VERSION, release: this.#options.release }),
        );
        const { addresses, peers } = source.questions;
        for (let from = 0; from < Math.max(addresses.length, peers.length); from += 1_000) {
          const part = <T>(list: readonly T[]): T[] => list.slice(from, from + 1_000);
          stream.write(
            encodeClientMessage({ type: 'ask', addresses: part(addresses), peers: part(peers), drop: [] }),
          );
        }
      });
      stream.on('data', (chunk: Buffer) => {
        if (status !== 200) refused = (refused + chunk.toString('utf8')).slice(0, 4_096);
        else for (const line of lines.push(chunk) ?? []) take(line);
      });
      stream.on('error', () => {});
      stream.on('close', () => {
        if (status === 200 || status === 0) return done('the stream ended');
        const text = refusalText({ status, body: refused, retryAfterMs: 0 });
        // An identity that is not believed any more is to be had anew first.
        if (status === 401 && refused.includes('identity-invalid')) {
          this.#identityRefused = true;
          this.#renewNow.abort();
        }
        done(text);
      });
      session.on('close', () => done('the connection ended'));
    });
  }

  async #proof(path: string, body: string, token: string): Promise<Record<string, string>> {
    const nonce = randomBytes(16).toString('base64url');
    const about = { method: 'POST', path, body, token };
    const proof = await signRequest(about, this.identity.key, Date.now() / 1000, nonce);
    return { authorization: `Bearer ${token}`, [PROOF_HEADER]: proof };
  }

  /** Renews when the identity says other labels than the authority's own stream. */
  #compareLabels(delayMs = 0): void {
    const { snapshot } = this.source;
    const own = this.identity.state?.own;
    if (snapshot === undefined || own === undefined) return;
    const differ =
      !sameLabels(own.labels, snapshot.self.labels) ||
      !sameLabels(own.namespaceLabels, snapshot.selfNamespaceLabels);
    if (!differ) return;
    if (delayMs === 0) this.#renewNow.abort();
    // A replica that was behind gave the old labels once more: again, but not at once.
    else setTimeout(() => this.#compareLabels(), delayMs).unref();
  }

  #identityChanged(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        const ready = this.identity.jwt !== undefined && !this.#identityRefused;
        if (!ready && !this.#end.signal.aborted) {
          if (this.#failed) this.source.disconnected(this.identity.problem ?? 'waiting for an identity');
          return;
        }
        clearInterval(timer);
        this.#onIdentity = () => {};
        resolve();
      };
      // What ends the waiting otherwise, an end or a refusal, is told by nobody.
      const timer = setInterval(look, 50);
      this.#onIdentity = look;
    });
  }

  #backoff(failures: number): number {
    const whole = Math.min(BACKOFF.mostMs, BACKOFF.firstMs * 2 ** Math.min(failures - 1, 10));
    return whole / 2 + (whole / 2) * this.#random();
  }

  #random(): number {
    return (this.#options.random ?? Math.random)();
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, undefined, { signal }).catch(() => {});
  }
}

const BYE = 'bye';

class Refused extends UserError {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** Labels that only an issuer may assert are in the token alone. */
function sameLabels(token: Readonly<Record<string, string>>, api: Readonly<Record<string, string>>): boolean {
  const plain = (labels: Readonly<Record<string, string>>): string =>
    JSON.stringify(
      Object.entries(labels)
        .filter(([key]) => !key.startsWith('identity.countersign.io/'))
        .map((pair) => pair.join('='))
        .toSorted(),
    );
  return plain(token) === plain(api);
}
