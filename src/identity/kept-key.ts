import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { generateOwnKey, type OwnKey, parseOwnKey } from './keys.ts';

/** A JWK of P-256 has some 200 bytes. */
const MAX_BYTES = 4_096;

/**
 * The key of a sidecar that a restart keeps: the one in the file, or a new one that is written there. The file belongs into memory (a tmpfs of the pod), and to this process's
 * user alone; one that others could have read or written is refused.
 * @throws UserError that names the file and the remedy
 */
export function keptKey(file: string): OwnKey {
  let descriptor: number;
  try {
    descriptor = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return madeKey(file);
    throw refusal(file, messageOf(error), error);
  }
  try {
    const { size, mode, uid, nlink } = fstatSync(descriptor);
    const isFile = (mode & constants.S_IFMT) === constants.S_IFREG;
    if (!isFile || size > MAX_BYTES || nlink !== 1) throw refusal(file, 'it is no small file of its own');
    if ((mode & 0o077) !== 0 || uid !== process.geteuid?.())
      throw refusal(file, 'it has to belong to the user of the proxy, and nobody else may read or write it');
    return parseOwnKey(readFileSync(descriptor, 'utf8'), file);
  } finally {
    closeSync(descriptor);
  }
}

/** Whole or not at all: a crash leaves no half of a key behind. */
function madeKey(file: string): OwnKey {
  const key = generateOwnKey();
  try {
    rmSync(`${file}.new`, { force: true });
    writeFileSync(`${file}.new`, JSON.stringify(key.jwk), { mode: 0o600, flag: 'wx' });
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw refusal(file, messageOf(error), error);
  }
  return key;
}

function refusal(file: string, why: string, cause?: unknown): UserError {
  return new UserError(
    `--identity-key ${file}: ${why}; remove it, or name another one in a folder of the pod's own`,
    {
      exitCode: EXIT.failure,
      cause,
    },
  );
}
