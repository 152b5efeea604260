import { readFile } from 'node:fs/promises';
import { messageOf } from '../errors.ts';
import { ApiError } from './api-error.ts';

/** What a request proves itself with. A client certificate is no matter of this: it belongs to the connection. */
export interface Credential {
  /** The value of `Authorization`; undefined: none. Throws an {@link ApiError} when it cannot be had. */
  header(): Promise<string | undefined>;
  /** The server answered 401: what is kept is to be had anew. */
  rejected(): void;
}

/** Nothing but what the connection itself proves. */
export const NO_CREDENTIAL: Credential = { header: async () => undefined, rejected: () => {} };

/** A token that stays the same. */
export function fixedToken(token: string): Credential {
  return { header: async () => `Bearer ${token}`, rejected: () => {} };
}

/** How long a token file's contents are believed: kubelet renews a token long before it ends (at 80 % of its life). */
const KEPT_MS = 60_000;
const MOST_BYTES = 64 << 10;

/** A file with a token, as kubelet projects it, read again every minute and when the server refuses what it says. */
export class TokenFile implements Credential {
  readonly #file: string;
  readonly #now: () => number;
  #kept: { readonly header: string; readonly readAt: number } | undefined;

  /** @param now milliseconds, of a clock that never goes back */
  constructor(file: string, now: () => number = () => performance.now()) {
    this.#file = file;
    this.#now = now;
  }

  async header(): Promise<string> {
    if (this.#kept !== undefined && this.#now() - this.#kept.readAt < KEPT_MS) return this.#kept.header;
    let token: string;
    try {
      token = (await readFile(this.#file, 'utf8')).trim();
    } catch (error) {
      throw new ApiError(`${this.#file}: the token cannot be read: ${messageOf(error)}`, { cause: error });
    }
    if (token === '' || token.length > MOST_BYTES || !/^[\x21-\x7e]+$/.test(token)) {
      throw new ApiError(`${this.#file}: is no token: one line of printable characters is expected`);
    }
    this.#kept = { header: `Bearer ${token}`, readAt: this.#now() };
    return this.#kept.header;
  }

  rejected(): void {
    this.#kept = undefined;
  }
}
