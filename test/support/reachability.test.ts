import t from 'tap';
import { differences, expected, matrixText } from './reachability.ts';

const PODS = ['x/a', 'x/b', 'y/a'];

t.test(
  'reachability: without a rule all is open; the last rule that fits holds; nobody is kept from itself',
  (t) => {
    t.ok([...expected(PODS, []).values()].every((outcome) => outcome === 'open'));
    const open = [...expected(PODS, ['deny * > x/*', 'allow y/a > */b'])].filter(([, one]) => one === 'open');
    t.strictSame(
      open.map(([cell]) => cell),
      ['x/a > x/a', 'x/a > y/a', 'x/b > x/b', 'x/b > y/a', 'y/a > x/b', 'y/a > y/a'],
    );
    t.end();
  },
);

t.test('reachability: a rule that is misspelt or about nobody is an error', (t) => {
  for (const rule of ['forbid * > x/a', 'deny x/a x/b', 'deny z/* > x/a', 'allow * > x/d'])
    t.throws(() => expected(PODS, [rule]), /is no rule|is about nobody/, rule);
  t.end();
});

t.test('reachability: what differs is named, and bracketed in the table', (t) => {
  const wanted = expected(PODS, ['deny y/* > x/a']);
  const seen = new Map([...expected(PODS, ['deny y/* > x/b']), ['x/b > x/a', 'silent' as const]]);
  t.strictSame(differences(wanted, seen), [
    'x/b > x/a is silent, and should be open',
    'y/a > x/a is open, and should be refused',
    'y/a > x/b is refused, and should be open',
  ]);
  t.strictSame(differences(wanted, new Map()).length, 9, 'what was not asked differs');
  t.equal(
    matrixText(PODS, wanted, seen),
    ['    x/a x/b y/a', 'x/a  .   .   .', 'x/b [?]  .   .', 'y/a [.] [X]  .'].join('\n'),
  );
  t.end();
});
