import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const main = join(import.meta.dirname, '../src/main.ts');

/** Runs the program with a reader that leaves before the first byte: long before, since Node.js has to start first. */
async function withoutReader(of: 'stdout' | 'stderr', command: readonly string[]) {
  const child = spawn(process.execPath, [main, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  child[of].destroy();
  let other = '';
  child[of === 'stdout' ? 'stderr' : 'stdout'].on('data', (chunk: Buffer) => (other += chunk.toString()));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, other };
}

t.test('a reader that leaves, as head does: no stack, and the status is that of the command', async (t) => {
  for (const command of [['--help'], ['policy', 'lint', '--help'], ['version']]) {
    t.strictSame(await withoutReader('stdout', command), { status: 0, other: '' }, command.join(' '));
  }
  t.strictSame(await withoutReader('stderr', ['no-such-command']), { status: 2, other: '' });
});

t.test(
  'a disk that is full: a sentence and a failure, not a success',
  { skip: !existsSync('/dev/full') && 'needs /dev/full' },
  async (t) => {
    const child = spawn(process.execPath, [main, 'version'], {
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
    });
    let complaint = '';
    child.stderr!.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const [status] = (await once(child, 'close')) as [number | null];
    t.equal(status, 1);
    t.match(complaint, /^countersign: cannot write the output: ENOSPC[^\n]*\n$/);
  },
);
