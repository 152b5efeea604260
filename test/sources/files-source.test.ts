import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { testSource, until } from '../support/source-compliance.ts';
import { Folder, makeFilesOrigin, pod, policy, policyNames, startedIn, told, WEB } from './folder.ts';

testSource(t, 'files source', makeFilesOrigin);

/** Long enough for two looks. */
const NOTICE_MS = 1_300;
const DENY = policy('deny-most');

t.test(
  'files source: a folder that is emptied, removed, or loses the own pod leaves the last snapshot',
  async (t) => {
    const losses: Record<string, (folder: Folder) => void> = {
      emptied: (folder) => {
        folder.remove('pod.yaml');
        folder.remove('policy.yaml');
      },
      removed: (folder) => rmSync(folder.path, { recursive: true }),
      'without the own pod': (folder) => folder.remove('pod.yaml'),
      'a file now': (folder) => {
        rmSync(folder.path, { recursive: true });
        writeFileSync(folder.path, 'x');
      },
    };
    t.jobs = 20;
    for (const [how, lose] of Object.entries(losses)) {
      t.test(how, { buffered: true }, async (t) => {
        const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
        const before = source.snapshot;
        lose(folder);
        await until('it is told of', () => source.problems.length > 0);
        await sleep(NOTICE_MS);
        t.equal(source.snapshot, before);
        t.match(told(source), /the last state stays in force/);
        rmSync(folder.path, { recursive: true, force: true });
        mkdirSync(folder.path);
        folder.write('pod.yaml', WEB);
        folder.write('policy.yaml', policy('another'));
        await until('it is back', () => policyNames(source).includes('another'));
        t.strictSame(source.problems, []);
        folder.write('third.yaml', policy('third'));
        await until('the new folder is watched', () => policyNames(source).includes('third'));
      });
    }
  },
);

t.test('files source: a folder replaced file by file is never seen without its policy', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
  let seenOpen = false;
  source.subscribe(() => (seenOpen ||= source.snapshot!.policies.length === 0));
  for (let round = 0; round < 5; round++) {
    rmSync(folder.path, { recursive: true });
    await sleep(60);
    mkdirSync(folder.path);
    folder.write('pod.yaml', WEB);
    await sleep(120);
    folder.write('policy.yaml', policy('deny-most', `round-${round}`));
    await sleep(200);
  }
  await until('the last state is in force', () =>
    JSON.stringify(source.snapshot!.policies).includes('round-4'),
  );
  t.notOk(seenOpen);
});

t.test('files source: a file that is removed and written anew is never seen missing', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
  let seenOpen = false;
  source.subscribe(() => (seenOpen ||= source.snapshot!.policies.length === 0));
  for (let round = 0; round < 5; round++) {
    folder.remove('policy.yaml');
    await sleep(120);
    folder.write('policy.yaml', policy('deny-most', `round-${round}`));
    await until('it is in force', () => JSON.stringify(source.snapshot!.policies).includes(`round-${round}`));
  }
  t.notOk(seenOpen);
});

t.test('files source: a file is not read while it is written', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
  let seenOpen = false;
  source.subscribe(() => (seenOpen ||= !policyNames(source).includes('deny-most')));
  const text = `${Array.from({ length: 20 }, (_, index) => policy(`p${index}`)).join('---\n')}---\n${DENY}`;
  folder.write('policy.yaml', '# new\n');
  for (let at = 0; at < text.length; at += 400) {
    writeFileSync(folder.at('policy.yaml'), text.slice(at, at + 400), { flag: 'a' });
    await sleep(10);
  }
  await until('it was read', () => policyNames(source).length === 21);
  t.notOk(seenOpen);
});

t.test('files source: a mounted ConfigMap is followed from one version to the next', async (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  const version = (name: string, text: string): void => {
    mkdirSync(folder.at(name));
    folder.write(`${name}/all.yaml`, text);
    symlinkSync(name, folder.at('..data_tmp'));
    renameSync(folder.at('..data_tmp'), folder.at('..data'));
  };
  version('..2026_1', `${WEB}---\n${policy('one')}`);
  symlinkSync('..data/all.yaml', folder.at('all.yaml'));
  const source = folder.source();
  t.teardown(() => source.close());
  await source.start();
  t.strictSame(policyNames(source), ['one']);
  version('..2026_2', `${WEB}---\n${policy('two')}`);
  await until('the second is in force', () => policyNames(source)[0] === 'two');
  t.strictSame(policyNames(source), ['two']);
  t.strictSame(source.problems, []);
});

t.test('files source: subfolders count, names with a dot do not, other suffixes neither', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB });
  mkdirSync(folder.at('more/deep'), { recursive: true });
  folder.write('more/deep/policy.yml', policy('deep'));
  folder.write('.hidden.yaml', policy('hidden'));
  folder.write('policy.yaml~', policy('backup'));
  folder.write('notes.txt', 'kind: [}');
  await until('it is there', () => policyNames(source).length > 0);
  await sleep(NOTICE_MS);
  t.strictSame(policyNames(source), ['deep']);
  folder.write('more/deep/policy.yml', policy('deeper'));
  await until('a change in a subfolder is there, too', () => policyNames(source)[0] === 'deeper');
});

t.test('files source: JSON, and the List that kubectl prints, count like YAML', async (t) => {
  const list = JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop' } }],
  });
  const { folder, source } = await startedIn(t, { 'all.json': list });
  t.equal(source.snapshot?.self.name, 'web');
  folder.write('all.json', list.slice(0, -3));
  await until('it is told of', () => source.problems.length > 0);
  t.match(told(source), /all\.json:1: is no YAML/);
  folder.write('all.json', list.replace('"name":"web"', '"name":7'));
  await until('it is told of', () => /metadata\.name/.test(told(source)));
  t.match(told(source), /all\.json:1: /);
});

t.test('files source: two policies of one name with different rules never open anything', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'b.yaml': DENY });
  const before = source.snapshot!.policies;
  folder.write('a.yaml', policy('deny-most', 'everybody'));
  folder.write('c.yaml', DENY);
  await until('it is told of', () => source.problems.length > 0);
  t.strictSame(source.snapshot!.policies, before);
  t.match(told(source), /networkpolicy\/shop\/deny-most: is there more than once.*in force before stays/);
  folder.remove('b.yaml');
  folder.remove('c.yaml');
  await until('one is left', () => source.problems.length === 0);
  t.match(JSON.stringify(source.snapshot!.policies), /everybody/);
});

t.test('files source: of two pods of one name the first file counts, and that is told', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB });
  folder.write('zz.yaml', pod('web', { app: 'other' }));
  await until('it is told of', () => source.problems.length > 0);
  t.equal(source.snapshot!.self.labels['app'], 'web');
  t.match(told(source), /pod\/shop\/web: is there more than once; the first file by name counts/);
});

t.test(
  'files source: the mode is that of the pod, else of its namespace, else of the process; a misspelt one enforces',
  async (t) => {
    const mark = (word: string): string => `  annotations: {countersign.io/mode: ${word}}\n`;
    const namespace = (word: string, grants = ''): string =>
      `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations: {countersign.io/mode: ${word}, countersign.io/grants: '${grants}'}\n`;
    const auditing = pod('web', {}, mark('audit'));
    const granting = namespace('enforce', 'exclusions, audit');
    for (const [files, expected] of [
      [{ 'pod.yaml': WEB }, 'audit'],
      [{ 'pod.yaml': WEB, 'ns.yaml': namespace('enforce') }, 'enforce'],
      [{ 'pod.yaml': auditing, 'ns.yaml': granting }, 'audit'],
      [{ 'pod.yaml': pod('web', { 'countersign.io/mode': 'audit' }), 'ns.yaml': granting }, 'audit'],
      [{ 'pod.yaml': auditing, 'ns.yaml': namespace('enforce') }, 'enforce'],
      [{ 'pod.yaml': auditing, 'ns.yaml': namespace('enforce', 'audits,exclusions') }, 'enforce'],
      [{ 'pod.yaml': auditing, 'ns.yaml': namespace('audit') }, 'audit'],
      [
        { 'pod.yaml': pod('web', { 'countersign.io/mode': 'enforce' }), 'ns.yaml': namespace('audit') },
        'enforce',
      ],
      [{ 'pod.yaml': pod('web', {}, mark('Audit')), 'ns.yaml': namespace('audit') }, 'enforce'],
    ] as const) {
      const folder = new Folder();
      t.teardown(() => folder.dispose());
      for (const [name, text] of Object.entries(files)) folder.write(name, text);
      const source = folder.source({ mode: 'audit' });
      t.teardown(() => source.close());
      await source.start();
      t.equal(source.snapshot!.mode, expected, JSON.stringify(files));
      t.equal(/neither audit nor enforce/.test(told(source)), JSON.stringify(files).includes(': Audit'));
    }
  },
);

t.test('files source: who may change a pod alone cannot switch its enforcement off', async (t) => {
  const auditing = pod('web', { app: 'web' }, '  annotations: {countersign.io/mode: audit}\n');
  const namespace = (annotations: string): string =>
    `apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations: {${annotations}}\n`;
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'ns.yaml': namespace('') });
  folder.replace('pod.yaml', auditing);
  await until('it is told of', () => /does not grant by countersign.io\/grants=audit/.test(told(source)));
  t.equal(source.snapshot!.mode, 'enforce');
  folder.replace('ns.yaml', namespace('countersign.io/grants: audit'));
  await until('a grant counts for a pod that lives', () => source.snapshot!.mode === 'audit');
  t.strictSame(source.problems, []);
  folder.replace('ns.yaml', namespace(''));
  await until('and so does its end', () => source.snapshot!.mode === 'enforce');
});

t.test('files source: a burst of changes comes to rest in the last one', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
  const first = source.snapshot!.version;
  for (let round = 0; round < 100; round++) {
    folder.replace('policy.yaml', policy('deny-most', `round-${round}`));
    await sleep(3);
  }
  await until('the last is in force', () => JSON.stringify(source.snapshot!.policies).includes('round-99'));
  t.ok(source.snapshot!.version - first < 20, 'not every step was read');
});

t.test('files source: a change is in force within half a second', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB });
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    folder.replace('policy.yaml', policy(`p${round}`));
    await until('it is in force', () => policyNames(source)[0] === `p${round}`);
    times.push(performance.now() - start);
  }
  t.ok(times.toSorted((a, b) => a - b)[2]! < 500, `took ${times.map(Math.round).join(', ')} ms`);
});

t.test('files source: an option that is no CIDR is refused', (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  t.throws(() => folder.source({ podCidrs: ['10.1/16'] }), { message: /10\.1\/16 is no CIDR/ });
  t.end();
});

t.test('files source: a process that has closed it ends', (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  folder.write('pod.yaml', WEB);
  const program = `
    import { FilesSource } from ${JSON.stringify(join(import.meta.dirname, '../../src/sources/files-source.ts'))};
    const source = new FilesSource({ folder: process.argv[1], pod: 'shop/web', mode: 'enforce' });
    await source.start();
    await source.close();
    process.stdout.write(source.snapshot.self.name);`;
  const ran = spawnSync(process.execPath, ['--input-type=module', '-e', program, folder.path], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  t.match(ran, { status: 0, stdout: 'web' }, ran.stderr);
  t.end();
});
