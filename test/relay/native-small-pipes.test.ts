import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';

/** A user of this test alone: the kernel counts pipes by user. */
const UID = 20_000_000 + (process.pid % 10_000_000);
const isRoot = process.getuid?.() === 0;
const isBounded = Number(readFileSync('/proc/sys/fs/pipe-user-pages-soft', 'utf8')) > 0;
const skip = isRoot && isBounded ? false : 'needs root, to become a user of its own, and a bound on pipes';

async function relayBulk(wanted: boolean, descriptors = 1_024): Promise<unknown> {
  const script = join(import.meta.dirname, 'small-pipes.inside.ts');
  const bounded = `ulimit -n ${descriptors} && exec "$@"`;
  const command = ['-c', bounded, 'sh', process.execPath, script, String(UID), String(wanted)];
  return JSON.parse((await promisify(execFile)('sh', command)).stdout);
}

t.test(
  'native data path: bulk goes through pipes, and without when the user has too many for them to be of use',
  { skip },
  async (t) => {
    t.strictSame(await relayBulk(true), { whole: true, piped: true, refused: false });
    const program = join(t.testdir(), 'pipe-quota');
    execFileSync('cc', ['-O1', '-o', program, join(import.meta.dirname, '../support/pipe-quota.c')]);
    const holder = spawn(program, [String(UID)], { stdio: ['pipe', 'pipe', 'inherit'] });
    t.teardown(() => holder.kill('SIGKILL'));
    const full = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')]);
    t.equal(String(full[0]), 'full\n', 'the user has as many pages in pipes as the system allows');
    t.strictSame(await relayBulk(false), { whole: true, piped: false, refused: true });
  },
);

t.test(
  'native data path: pipes leave the last descriptors of the process to its own files',
  { skip: isRoot ? false : 'needs root, to become a user of its own' },
  async (t) => {
    t.strictSame(await relayBulk(true, 256), { whole: true, piped: true, refused: false });
    t.strictSame(await relayBulk(false, 80), { whole: true, piped: false, refused: true });
  },
);
