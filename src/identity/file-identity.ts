import { readFile } from 'node:fs/promises';
import { messageOf, UserError } from '../errors.ts';
import { IdentityKeeper } from './identity-keeper.ts';
import { IdentityState } from './identity-state.ts';
import { parseOwnKey } from './keys.ts';
import { parseTrustBundle } from './trust.ts';

/** How often the files are looked at. They are read whole each time: a symbolic link may have been swapped without a trace. */
const POLL_MS = 1_000;
const MAX_FILE_BYTES = 1 << 20;

export interface IdentityFiles {
  readonly token: string;
  readonly key: string;
  readonly trust: string;
}

/**
 * The identity in three files: own token, own key, trust bundle. Read again when they change; a set that does not belong together (half
 * written, or a token for another key) waits for the next look.
 */
export class FileIdentity extends IdentityKeeper {
  readonly #files: IdentityFiles;
  #contents = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(files: IdentityFiles) {
    super();
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
    const { token, key, trust } = this.#files;
    let texts: [string, string, string];
    try {
      texts = await Promise.all([read(token), read(key), read(trust)]);
    } catch (error) {
      this.fail(messageOf(error));
      return;
    }
    const contents = JSON.stringify(texts);
    if (contents === this.#contents) return;
    this.#contents = contents;
    this.replace(
      () =>
        new IdentityState(
          texts[0],
          parseOwnKey(texts[1], key),
          parseTrustBundle(texts[2], trust),
          Date.now() / 1000,
        ),
    );
  }
}

async function read(file: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${messageOf(error)}`);
  }
  if (bytes.length > MAX_FILE_BYTES) throw new UserError(`${file}: larger than ${MAX_FILE_BYTES} bytes`);
  return bytes.toString('utf8');
}
