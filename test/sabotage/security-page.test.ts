import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

const root = join(import.meta.dirname, '..', '..');
const page = readFileSync(join(root, 'docs', 'security.md'), 'utf8');

/** Every test file that the page names, with the parts of test names in brackets behind it. */
const claims = [...page.matchAll(/`(test\/[^`]+\.ts)`(?: \(((?:"[^"]+"(?:, )?)+)\))?/g)].map((match) => ({
  file: match[1]!,
  names: [...(match[2] ?? '').matchAll(/"([^"]+)"/g)].map((name) => name[1]!),
}));

t.test('security page: every test that it names exists under that name', (t) => {
  t.ok(claims.length > 30, 'the page is read');
  for (const { file, names } of claims) {
    if (!t.ok(existsSync(join(root, file)), file)) continue;
    const text = readFileSync(join(root, file), 'utf8');
    for (const name of names) t.ok(text.includes(name), `${file} has a test named "${name}"`);
  }
  t.end();
});

t.test('security page: every row has an answer', (t) => {
  const rows = [...page.matchAll(/^\| ([PH])(\d+) +\|[^|]+\|([^|]+)\|$/gm)];
  t.strictSame(
    rows.map((row) => `${row[1]}${row[2]}`),
    [
      ...Array.from({ length: 23 }, (_, index) => `P${index + 1}`),
      ...Array.from({ length: 24 }, (_, index) => `H${index + 1}`),
    ],
  );
  for (const row of rows) t.ok(row[3]!.trim().length > 10, `${row[1]}${row[2]}`);
  t.end();
});
