import { open } from 'node:fs/promises';
import { messageOf, UserError } from '../errors.ts';
import type { Curves } from '../lib/curves.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { IdentityState, ownToken } from './identity-state.ts';
import { parseOwnKey } from './keys.ts';
import { parseFederatedTrust } from './trust.ts';
import { TrustInForce } from './trust-in-force.ts';

/** How often the files are looked at. They are read whole each time: a symbolic link may have been swapped without a trace. */
const POLL_MS = 1_000;
const MAX_FILE_BYTES = 1 << 20;
/** Room for a token or a key. Room for the largest file, three times a second, would have the collector at work in a sidecar that does nothing. */
const MOST_USUAL_BYTES = 16_384;

export interface IdentityFiles {
  readonly token: string;
  readonly key: string;
  readonly trust: string;
}

/**
 * The identity in three files: own token, own key, trust bundle. Read again when they change; a token and a key that do not belong together
 * (half written, or a token for another key) wait for the next look, and so does a token that is not valid yet.
 */
export class FileIdentity extends IdentityKeeper {
  readonly #files: IdentityFiles;
  #contents = '';
  #trust: { readonly text: string; readonly inForce: TrustInForce } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  constructor(files: IdentityFiles, curves?: Curves) {
    super(curves);
    this.#files = files;
  }

  /** Reads once; after that changes are followed. What is wrong with the files is a problem, no error: it may be mended. */
  async start(): Promise<void> {
    await this.#look();
    this.#timer = setInterval(() => void this.#look(), POLL_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    // A slow file system must not let an older look overtake a newer one.
    if (this.#looking) return;
    this.#looking = true;
    try {
      await this.#follow();
    } catch (error) {
      this.fail(messageOf(error));
    } finally {
      this.#looking = false;
    }
  }

  async #follow(): Promise<void> {
    const { token, key, trust } = this.#files;
    const [trustText, tokenText, keyText] = await Promise.all([
      readSmallFile(trust),
      readSmallFile(token).catch(errorOf),
      readSmallFile(key).catch(errorOf),
    ]);
    const contents = JSON.stringify([trustText, textOf(tokenText), textOf(keyText)]);
    // With a problem in the air the same contents are tried again: a token may have begun meanwhile, an unreadable file be back.
    if (contents === this.#contents && this.problem === undefined) return;
    this.#contents = contents;
    const before = this.#trust;
    if (before?.text !== trustText) {
      const inForce = new TrustInForce(parseFederatedTrust(trustText, trust), this.revocations, this.curves);
      this.#trust = { text: trustText, inForce };
    }
    const { inForce } = this.#trust!;
    this.replace(
      () => {
        if (tokenText instanceof Error) throw tokenText;
        if (keyText instanceof Error) throw keyText;
        return new IdentityState(
          ownToken(tokenText),
          parseOwnKey(keyText, key),
          inForce,
          Date.now() / 1000,
          this.curves,
        );
      },
      this.#trust === before ? undefined : inForce,
    );
  }
}

/** Reads a file of text, never more of it than a file of this kind has. Throws a `UserError` that names it. */
export async function readSmallFile(file: string): Promise<string> {
  try {
    await using handle = await open(file);
    const small = await handle.read(Buffer.alloc(MOST_USUAL_BYTES));
    if (small.bytesRead < MOST_USUAL_BYTES) return small.buffer.toString('utf8', 0, small.bytesRead);
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(MAX_FILE_BYTES + 1), 0, undefined, 0);
    if (bytesRead > MAX_FILE_BYTES) throw new UserError(`larger than ${MAX_FILE_BYTES} bytes`);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}

function errorOf(error: Error): Error {
  return error;
}

function textOf(value: string | Error): string {
  return value instanceof Error ? value.message : value;
}
