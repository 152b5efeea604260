import { chmodSync, linkSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { keptKey } from '../../src/identity/kept-key.ts';

t.test('kept key: a restart has the key of the run before, which nobody else may read', (t) => {
  const file = join(t.testdir(), 'key');
  const first = keptKey(file);
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.strictSame(keptKey(file).publicKey, first.publicKey);
  t.not(keptKey(join(t.testdir(), 'other')).publicKey.x, first.publicKey.x);
  t.end();
});

t.test('kept key: a crash while it was written leaves nothing in the way', (t) => {
  const folder = t.testdir({ 'key.new': '{"kty":' });
  const { publicKey } = keptKey(join(folder, 'key'));
  t.strictSame(keptKey(join(folder, 'key')).publicKey, publicKey);
  t.end();
});

t.test(
  'kept key: a file that others may have read or written, or that is none, is refused by name and kept',
  (t) => {
    const rows: [what: string, spoil: (file: string) => void, said: RegExp][] = [
      ['readable by others', (file) => chmodSync(file, 0o644), /nobody else may read or write it/],
      ['readable by the group', (file) => chmodSync(file, 0o640), /nobody else may read or write it/],
      ['two names', (file) => linkSync(file, `${file}.copy`), /no small file of its own/],
      ['half of it', (file) => writeFileSync(file, readFileSync(file, 'utf8').slice(0, 80)), /key/],
      ['far too long', (file) => writeFileSync(file, ' '.repeat(10_000)), /no small file of its own/],
      ['empty', (file) => writeFileSync(file, ''), /key/],
    ];
    for (const [what, spoil, said] of rows) {
      const file = join(t.testdir({}), `key-${rows.findIndex(([name]) => name === what)}`);
      keptKey(file);
      spoil(file);
      const before = readFileSync(file, 'utf8');
      t.throws(() => keptKey(file), { name: 'UserError', message: said }, what);
      t.equal(readFileSync(file, 'utf8'), before, `${what}: left as it is`);
    }
    const folder = t.testdir({ elsewhere: '{}' });
    symlinkSync(join(folder, 'elsewhere'), join(folder, 'link'));
    t.throws(() => keptKey(join(folder, 'link')), /--identity-key .*link: /, 'a link');
    t.throws(() => keptKey(folder), /--identity-key /, 'a folder');
    t.throws(
      () => keptKey(join(folder, 'none/key')),
      /--identity-key .*ENOENT/,
      'a folder that is not there',
    );
    t.end();
  },
);
