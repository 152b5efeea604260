import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { cannotNetns } from '../support/netns.ts';

const run = promisify(execFile);
const MOUNT = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$0" "$2" "$1" "$3"';

interface Seen {
  readonly afterChurn: { readonly problems: number; readonly flows: number };
  readonly open: number;
  readonly told?: string;
  readonly whenFull: { readonly flows: number; readonly podAtFirstPort?: string };
  readonly whenEmptier: { readonly flows: number; readonly podAtFirstPort?: string };
  readonly problems: number;
}

t.test('flow state: a volume that is full', { skip: cannotNetns(), timeout: 290_000 }, async (t) => {
  const [small, copies] = ['small', 'copies'].map((name) => join(t.testdir(), name)) as [string, string];
  for (const folder of [small, copies]) mkdirSync(folder);
  const inside = join(import.meta.dirname, 'flow-store-full.inside.ts');
  const { stdout } = await run('unshare', [
    '--mount',
    'sh',
    '-c',
    MOUNT,
    process.execPath,
    small,
    inside,
    copies,
  ]);
  const seen = JSON.parse(stdout) as Seen;
  t.strictSame(
    { problems: seen.afterChurn.problems, flows: seen.afterChurn.flows },
    { problems: 0, flows: 0 },
    'twenty thousand flows one after the other need no more space than those that are open',
  );
  t.match(seen.told, /--flow-state .*flows: ENOSPC.*; a restart cuts the \d+ connections that are open now/);
  t.ok(seen.open > 2_000, `${seen.open} open flows fit into a mebibyte`);
  t.equal(
    seen.whenFull.podAtFirstPort,
    undefined,
    'nobody is taken for who had the address and the port before',
  );
  t.equal(seen.whenFull.flows, 0);
  t.equal(seen.whenEmptier.podAtFirstPort, 'other', 'with space again the file is back');
  t.equal(seen.whenEmptier.flows, 101, 'and whole');
  t.equal(seen.problems, 1, 'the problem is told once');
});
