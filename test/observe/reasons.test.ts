import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ALL_REASONS, isReason, REASONS } from '../../src/observe/reasons.ts';

const reference = readFileSync(join(import.meta.dirname, '../../docs/reference.md'), 'utf8');

t.test('reasons: every code is short and in kebab case, since it becomes a metric label', (t) => {
  for (const code of ALL_REASONS) {
    t.match(code, /^[a-z]+(-[a-z]+)*$/, code);
    t.ok(code.length <= 32, code);
  }
  t.end();
});

t.test('reasons: every code says in one line what it means, and no two say the same', (t) => {
  const texts = ALL_REASONS.map((code) => REASONS[code].text);
  for (const text of texts) t.match(text, /^[^A-Z\n|][^\n|]{8,150}[^.\s|]$/, text);
  t.equal(new Set(texts).size, texts.length);
  t.end();
});

t.test('reasons: every code stands in the reference with its verdict', (t) => {
  for (const code of ALL_REASONS) {
    const { verdict, text } = REASONS[code];
    t.ok(reference.includes(`| \`${code}\` | ${verdict} | ${text} |`), code);
  }
  t.end();
});

t.test('reasons: there are some for both verdicts, and no other verdict', (t) => {
  const verdicts = Map.groupBy(ALL_REASONS, (code) => REASONS[code].verdict);
  t.strictSame([...verdicts.keys()].toSorted(), ['allow', 'deny']);
  t.end();
});

t.test('reasons: a text is one of them only if it is listed, whatever objects inherit', (t) => {
  t.ok(ALL_REASONS.every(isReason));
  for (const text of ['', 'toString', 'constructor', '__proto__', 'Policy-Denied', 'policy-denied ']) {
    t.notOk(isReason(text), text);
  }
  t.end();
});
