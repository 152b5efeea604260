import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { FilesSource } from '../../src/sources/files-source.ts';
import { problemText } from '../../src/sources/manifest-folder.ts';
import { testSourceCompliance } from '../support/source-compliance.ts';

const POD = (name = 'self', more = ''): string => `apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: demo${more}}
status: {podIP: 10.0.0.1}
`;

const POLICY = (name: string): string => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: ${name}, namespace: demo}
spec: {podSelector: {}}
`;

function rig(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-files-'));
  const source = new FilesSource({ folder, pod: 'demo/self', mode: 'enforce' });
  t.teardown(async () => {
    await source.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const write = (name: string, text: string | Buffer): void => {
    writeFileSync(join(folder, `.${name}.new`), text);
    renameSync(join(folder, `.${name}.new`), join(folder, name));
  };
  write('pod.yaml', POD());
  return {
    source,
    folder,
    write,
    remove: (name: string) => rmSync(join(folder, name), { recursive: true, force: true }),
    /** Waits until the source has taken in what was changed: that it told something, and then nothing for a while. */
    noticed: async () => {
      const told = { at: 0 };
      const stop = source.subscribe(() => {
        told.at = Date.now();
      });
      const end = Date.now() + 1_400;
      while (Date.now() < end && (told.at === 0 || Date.now() < told.at + 150)) await sleep(10);
      stop();
    },
    policies: () => source.snapshot?.policies.map((policy) => policy.name).toSorted() ?? [],
  };
}

testSourceCompliance(t, 'files source', (t) => {
  const { source, write, remove } = rig(t);
  return {
    source,
    policy: (name, present) => (present ? write(`${name}.yaml`, POLICY(name)) : remove(`${name}.yaml`)),
    breakSource: (broken) => write('pod.yaml', broken ? 'kind: [' : POD()),
  };
});

const BROKEN: [string, string | Buffer, RegExp][] = [
  ['half a file', POLICY('one').slice(0, -12), /no YAML/],
  ['no YAML', 'a: [', /no YAML/],
  ['a field of the wrong kind', POLICY('one').replace('{}', '7'), /spec\.podSelector/],
  [
    'a rule that the API server would refuse',
    POLICY('one').replace(
      '{podSelector: {}}',
      '{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: nonsense}}]}]}',
    ),
    /cidr/,
  ],
  ['bytes that are no text', Buffer.from([0xff, 0xfe, 0x00, 0x01, 0x80]), /YAML|object/],
  ['a text that is no object', 'hello', /no Kubernetes object/],
  ['a bomb of aliases', bomb(), /YAML/],
  ['more than is read', Buffer.alloc((8 << 20) + 1, 0x20), /is the most/],
];

function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let level = 1; level < 9; level++) {
    const alias = `*a${level - 1}`;
    lines.push(`a${level}: &a${level} [${Array.from({ length: 10 }, () => alias).join(', ')}]`);
  }
  return lines.join('\n');
}

for (const [what, content, expected] of BROKEN) {
  t.test(`files source: ${what} keeps the last good state of that file, and is told`, async (t) => {
    const { source, write, noticed, policies } = rig(t);
    write('policy.yaml', POLICY('one'));
    await source.start();
    write('policy.yaml', content);
    await noticed();
    t.strictSame(policies(), ['one']);
    t.match(source.problems.map(problemText).join('\n'), expected);
    write('other.yaml', POLICY('two'));
    await noticed();
    t.strictSame(policies(), ['one', 'two'], 'and loses nothing else');
  });
}

t.test('files source: one broken document spoils its file, so that half of it never counts', async (t) => {
  const { source, write, noticed, policies } = rig(t);
  write('policy.yaml', `${POLICY('deny')}---\n${POLICY('allow')}`);
  await source.start();
  write('policy.yaml', `${POLICY('allow')}---\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\n`);
  await noticed();
  t.strictSame(policies(), ['allow', 'deny']);
  t.match(problemText(source.problems[0]!), /policy\.yaml:6: metadata\.name must be given/);
});

t.test('files source: an emptied or removed folder keeps the last state', async (t) => {
  const { source, folder, write, remove, noticed, policies } = rig(t);
  write('policy.yaml', POLICY('one'));
  await source.start();
  remove('pod.yaml');
  remove('policy.yaml');
  await noticed();
  t.strictSame(policies(), ['one']);
  t.match(problemText(source.problems[0]!), /own pod is not in the folder; the last state stays in force/);
  rmSync(folder, { recursive: true });
  await noticed();
  t.strictSame(policies(), ['one']);
  t.match(problemText(source.problems[0]!), /cannot be read/);
  mkdirSync(folder);
  write('pod.yaml', POD());
  await noticed();
  t.strictSame(policies(), [], 'and a folder that is there again counts again');
});

t.test('files source: a mounted ConfigMap that is swapped by its link is followed', async (t) => {
  const { source, folder, noticed, policies } = rig(t);
  for (const [state, name] of [
    ['..1', 'one'],
    ['..2', 'two'],
  ] as const) {
    mkdirSync(join(folder, state));
    writeFileSync(join(folder, state, 'policy.yaml'), POLICY(name));
  }
  symlinkSync('..1', join(folder, '..data'));
  symlinkSync(join('..data', 'policy.yaml'), join(folder, 'policy.yaml'));
  await source.start();
  t.strictSame(policies(), ['one']);
  symlinkSync('..2', join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  await noticed();
  t.strictSame(policies(), ['two']);
});

t.test('files source: lists, JSON and subfolders count; other files and kinds do not', async (t) => {
  const { source, folder, write, policies } = rig(t);
  mkdirSync(join(folder, 'sub'));
  const [one, two] = ['one', 'two'].map((name) => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: 'demo' },
    spec: { podSelector: {} },
  }));
  write('list.json', JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [one] }));
  writeFileSync(join(folder, 'sub/two.json'), JSON.stringify(two));
  write('notes.txt', 'kind: [');
  write('config.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n');
  await source.start();
  t.strictSame(policies(), ['one', 'two']);
  t.strictSame(source.problems, []);
});

t.test('files source: of two objects with one name the first counts, and it is told', async (t) => {
  const { source, write } = rig(t);
  write('z.yaml', POD('self', ', labels: {app: other}'));
  await source.start();
  t.strictSame(source.snapshot!.self.labels, {});
  t.match(problemText(source.problems[0]!), /pod\/demo\/self: is there more than once/);
});

t.test('files source: the mode is that of the pod, else of its namespace, else of the process', async (t) => {
  const { source, write, noticed } = rig(t);
  const namespace = (mode: string): string =>
    `apiVersion: v1\nkind: Namespace\nmetadata: {name: demo, annotations: {countersign.io/mode: ${mode}}}\n`;
  await source.start();
  t.equal(source.snapshot!.mode, 'enforce');
  write('namespace.yaml', namespace('audit'));
  await noticed();
  t.equal(source.snapshot!.mode, 'audit');
  write('pod.yaml', POD('self', ', annotations: {countersign.io/mode: enforce}'));
  await noticed();
  t.equal(source.snapshot!.mode, 'enforce');
  write('namespace.yaml', namespace('off'));
  write('pod.yaml', POD());
  await noticed();
  t.equal(source.snapshot!.mode, 'enforce', 'a word that is none does not weaken anything');
});
