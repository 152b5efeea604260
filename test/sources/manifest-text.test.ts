import fc from 'fast-check';
import t from 'tap';
import { readManifestText } from '../../src/sources/manifest-file.ts';
import { type ManifestDocument, parseManifest } from '../../src/sources/manifest-text.ts';
import type { SourceProblem } from '../../src/sources/source.ts';

const documents = (text: string, file = 'x.yaml'): ManifestDocument[] => {
  const parsed = parseManifest(text, file);
  if (!Array.isArray(parsed)) throw new Error(JSON.stringify(parsed));
  return parsed;
};

const problem = (text: string, file = 'x.yaml'): SourceProblem => {
  const parsed = parseManifest(text, file);
  if (Array.isArray(parsed)) throw new Error(`no problem in ${text.slice(0, 80)}`);
  return parsed;
};

t.test('manifest text: documents, comments, and Lists', (t) => {
  const values = (text: string, file?: string): unknown[] => documents(text, file).map(({ value }) => value);
  t.strictSame(values('# nothing\n'), []);
  t.strictSame(values('a: 1\n---\n---\n# x\n---\nb: 2\n...\n'), [{ a: 1 }, { b: 2 }]);
  t.strictSame(values('kind: List\nitems: [{a: 1}, {b: 2}]'), [{ a: 1 }, { b: 2 }]);
  t.strictSame(values('kind: PodList\nitems: []'), []);
  t.strictSame(values('{"kind":"List","items":[{"a":1}]}', 'x.json'), [{ a: 1 }]);
  t.strictSame(values('a: &x {b: 1}\nc: *x'), [{ a: { b: 1 }, c: { b: 1 } }]);
  t.strictSame(values('\uFEFFa: 1'), [{ a: 1 }]);
  t.strictSame(values('a: yes\nb: 2026-01-01\nc: 010\nd: ~'), [
    { a: 'yes', b: '2026-01-01', c: 10, d: null },
  ]);
  const [polluted] = values('__proto__: {polluted: true}') as [object];
  t.ok(Object.hasOwn(polluted, '__proto__'));
  t.notOk('polluted' in {});
  t.end();
});

t.test('manifest text: the line of a field, or of what is nearest around it', (t) => {
  const text =
    'kind: A\nspec:\n  ports:\n    - port: 1\n    - name: x\n      port: 2\n---\n\nkind: List\nitems:\n  - kind: B\n    metadata:\n      labels:\n        a/b.c: d\n';
  const [first, second] = documents(text);
  const lines = (document: ManifestDocument, ...fields: string[]): number[] =>
    fields.map((field) => document.lineOf(field));
  t.strictSame(
    lines(first!, '', 'kind', 'spec.ports[1].port', 'spec.ports[1].protocol', 'spec.ports[7]', 'status.x'),
    [1, 1, 6, 5, 3, 1],
  );
  t.strictSame(lines(second!, 'kind', 'metadata.labels[a/b.c]', 'metadata.name'), [11, 14, 12]);
  const [json] = documents('{\n"kind": "A",\n"spec": {\n"x": 1}}', 'x.json');
  t.strictSame(lines(json!, 'spec.x'), [4]);
  t.end();
});

t.test('manifest text: what is wrong, and on which line', (t) => {
  for (const [text, line, reason] of [
    ['a: 1\nb: [\n', undefined, /./],
    ['a: 1\nb:\n  c: 1\n d: 2\n', 4, /./],
    ['a: 1\nb: 2\na: 3\n', 3, /the key "a" is there twice/],
    ['x:\n  - a: 1\n    a: 2\n', 3, /twice/],
    ['a: 1\n? [b]\n: c\n', 2, /a key must be a text/],
    ['a: *nobody\n', undefined, /nobody/],
    ['a: "\n', undefined, /./],
    ['a: 1\0', undefined, /NUL/],
    [`a: {x: "1"}\n---\nb: [c, d]\ne: ${'['.repeat(200)}`, 4, /nested too deep/],
  ] as const) {
    const found = problem(text);
    t.match(found, { file: 'x.yaml', reason: /^is no YAML: / }, text);
    t.match(found.reason, reason);
    if (line !== undefined) t.equal(found.line, line, text);
  }
  t.match(problem('{"a": 1,\n"b" 2}', 'x.json'), { line: 2 });
  t.end();
});

t.test('manifest text: what was made to exhaust the reader is refused at once', (t) => {
  const many = (count: number, make: (index: number) => string): string =>
    Array.from({ length: count }, (_, index) => make(index)).join('');
  const levels = many(
    12,
    (level) => `a${level}: &a${level} [${many(10, () => (level === 0 ? 'x,' : `*a${level - 1},`))}]\n`,
  );
  for (const [name, text, reason] of [
    ['lists in lists', '['.repeat(4 << 20), /nested too deep/],
    ['maps in maps', '{a: '.repeat(1 << 20), /nested too deep/],
    ['lists on one line', '- '.repeat(1 << 20), /nested too deep/],
    ['keys in keys', '? '.repeat(1 << 20), /nested too deep/],
    ['one column more on each line', many(1_500, (index) => `${' '.repeat(index)}a:\n`), /indented too deep/],
    ['a bomb of aliases', levels, /alias/],
    ['many anchors', many(100_000, (index) => `- &a${index} x\n`), /anchors/],
    ['many documents', '---\na: 1\n'.repeat(30_000), /documents/],
  ] as const) {
    const start = performance.now();
    t.match(problem(text), { reason }, name);
    t.ok(performance.now() - start < 20_000, `${name}: in ${Math.round(performance.now() - start)} ms`);
  }
  const start = performance.now();
  t.equal(documents(many(50_000, (index) => `k${index}: 1\n`)).length, 1);
  t.ok(performance.now() - start < 20_000, 'many keys are no matter of minutes');
  t.end();
});

t.test('manifest text: no text makes the reader throw, and JSON means the same as YAML', (t) => {
  const pieces = fc.constantFrom(
    ...[
      'a: ',
      '- ',
      '\n',
      '  ',
      '{',
      '}',
      '[',
      ']',
      '&x ',
      '*x',
      '!!map ',
      '"',
      "'",
      '|\n',
      '? ',
      '---\n',
      '#',
      '%YAML 9\n',
      '<<: ',
    ],
    ...['kind: List', 'items:', ', ', '\t', '\u2028', '\0', 'é', '...\n', ': '],
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 60 }), (parts) => {
      const text = parts.join('');
      for (const file of ['x.yaml', 'x.json']) {
        const parsed = parseManifest(text, file);
        if (Array.isArray(parsed)) for (const one of parsed) one.lineOf('spec.ingress[0].from');
      }
    }),
    { numRuns: 2_000 },
  );
  const noLongNumbers = fc.jsonValue({ maxDepth: 4, stringUnit: 'grapheme-ascii' });
  fc.assert(
    fc.property(noLongNumbers, (value) => {
      const text = JSON.stringify({ wrapped: value });
      t.strictSame(documents(text)[0]!.value, documents(text, 'x.json')[0]!.value);
    }),
    { numRuns: 200 },
  );
  t.end();
});

t.test(
  'manifest file: a name with nothing behind it is a file cut off; a written null is what it is to the API',
  (t) => {
    const policy = (from: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - ports: [{port: 80}]
    from:${from}
`;
    t.match(readManifestText(policy(''), 'p.yaml').problems, [{ line: 8, reason: /has no value/ }]);
    t.match(readManifestText(policy(' # to be written'), 'p.yaml').problems, [{ reason: /has no value/ }]);
    for (const from of [' null', ' ~'])
      t.strictSame(readManifestText(policy(from), 'p.yaml').problems, [], from);
    const json = {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: 'p', namespace: 'shop' },
      spec: { podSelector: {}, ingress: [{ from: null }] },
    };
    for (const name of ['p.json', 'p.yaml']) {
      t.strictSame(readManifestText(JSON.stringify(json), name).problems, [], name);
      const list = { apiVersion: 'v1', kind: 'List', items: [json] };
      t.strictSame(readManifestText(JSON.stringify(list), name).problems, [], `${name}, in a list`);
    }
    t.end();
  },
);
