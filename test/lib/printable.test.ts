import fc from 'fast-check';
import t from 'tap';
import { printable } from '../../src/lib/printable.ts';

/** What breaks lines and terminals, often. */
const UNIT = fc.constantFrom(
  'a',
  'é',
  '"',
  '\\',
  '🍺',
  '\ud83c',
  '\n',
  '\u0000',
  '\u001b',
  '\u007f',
  '\u009b',
  '\u2028',
  '\u202e',
);

t.test('printable: what a terminal would obey is replaced, what people write stays', (t) => {
  const cases: [string, string][] = [
    ['rule 2 of networkpolicy/shop/db', 'rule 2 of networkpolicy/shop/db'],
    ['größer «als» 日本 🍺', 'größer «als» 日本 🍺'],
    ['two\nlines\ttab', 'two\ufffdlines\ufffdtab'],
    ['\u001b[2Jcleared', '\ufffd[2Jcleared'],
    ['\u009b31mred', '\ufffd31mred'],
    ['a\u202egnp.exe', 'a\ufffdgnp.exe'],
    ['line\u2028separator', 'line\ufffdseparator'],
    ['half \ud83c', 'half \ufffd'],
  ];
  for (const [given, wanted] of cases) t.equal(printable(given, 100), wanted);
  t.end();
});

t.test('printable: nothing is longer than the limit, and a cut is shown', (t) => {
  t.equal(printable('abcdef', 6), 'abcdef');
  t.equal(printable('abcdefg', 6), 'abcde…');
  t.equal(printable('abcd🍺🍺', 6), 'abcd\ufffd…');
  fc.assert(
    fc.property(fc.string({ unit: UNIT, maxLength: 60 }), fc.integer({ min: 1, max: 40 }), (text, max) => {
      const kept = printable(text, max);
      return kept.length <= max && kept.isWellFormed() && !/[\p{Cc}\p{Cf}\p{Zl}]/u.test(kept);
    }),
  );
  t.end();
});
