import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { until } from '../support/source-compliance.ts';
import { Folder, policy, policyNames, startedIn, told, WEB } from './folder.ts';

/** Long enough for two looks. */
const NOTICE_MS = 1_300;
const DENY = policy('deny-most');

t.test(
  'files source: whatever is done to a file, the policy in it stays in force and the file is told of',
  async (t) => {
    const spoilt: Record<string, (folder: Folder, name: string) => void> = {
      'cut off in a word': (folder, name) => truncateSync(folder.at(name), 90),
      'cut off behind "from:"': (folder, name) => truncateSync(folder.at(name), DENY.indexOf('from:') + 6),
      'cut off behind "matchLabels:"': (folder, name) =>
        truncateSync(folder.at(name), DENY.lastIndexOf('matchLabels:') + 13),
      emptied: (folder, name) => folder.write(name, ''),
      'emptied but for a line': (folder, name) => folder.write(name, '\n'),
      'no YAML': (folder, name) => folder.write(name, 'kind: [}\n'),
      'a field of another type': (folder, name) => folder.write(name, DENY.replace('app: api', 'app: 7')),
      'a misspelt kind': (folder, name) => folder.write(name, DENY.replace('NetworkPolicy', 'NetworkPolcy')),
      'an old version of the API': (folder, name) =>
        folder.write(name, DENY.replace('networking.k8s.io/v1', 'extensions/v1beta1')),
      'a key twice': (folder, name) =>
        folder.write(name, `${DENY}  podSelector: {matchLabels: {app: other}}\n`),
      binary: (folder, name) => folder.write(name, Buffer.from([0, 255, 254, 7, 200, 10, 0, 128])),
      'of 100 MB': (folder, name) => truncateSync(folder.at(name), 100 << 20),
      'a bomb of aliases': (folder, name) => folder.write(name, bomb()),
      'nested deep': (folder, name) => folder.write(name, '? '.repeat(200_000)),
      'a folder': (folder, name) => {
        folder.remove(name);
        mkdirSync(folder.at(name));
        folder.write(`${name}/x.yaml`, 'kind: [}');
      },
      'a link to nowhere': (folder, name) => {
        folder.remove(name);
        symlinkSync('/nonexistent/policy.yaml', folder.at(name));
      },
      'a device': (folder, name) => {
        folder.remove(name);
        symlinkSync('/dev/zero', folder.at(name));
      },
      'a pipe': (folder, name) => {
        folder.remove(name);
        spawnSync('mkfifo', [folder.at(name)]);
      },
      'moved into a file that is broken': (folder, name) => {
        folder.write('other.yaml', `${DENY}---\nkind: [}`);
        folder.remove(name);
      },
    };
    t.jobs = 20;
    for (const [how, spoil] of Object.entries(spoilt)) {
      t.test(how, { buffered: true }, async (t) => {
        const { folder, source } = await startedIn(t, { 'pod.yaml': WEB, 'policy.yaml': DENY });
        const before = source.snapshot!;
        spoil(folder, 'policy.yaml');
        await until('it is told of', () => source.problems.length > 0);
        await sleep(NOTICE_MS);
        t.strictSame(source.snapshot!.policies, before.policies);
        t.match(told(source), /(policy|other)\.yaml/);
        rmSync(folder.at('policy.yaml'), { recursive: true, force: true });
        rmSync(folder.at('other.yaml'), { force: true });
        folder.write('policy.yaml', policy('deny-most', 'web'));
        await until('it is well', () => source.problems.length === 0);
        t.strictSame(policyNames(source), ['deny-most']);
        t.notSame(source.snapshot!.policies, before.policies);
      });
    }
  },
);

function bomb(): string {
  const levels = Array.from({ length: 12 }, (_, level) => {
    const last = level === 0 ? 'x' : `*a${level - 1}`;
    return `a${level}: &a${level} [${Array.from({ length: 10 }, () => last).join(', ')}]`;
  });
  return `kind: X\napiVersion: v1\n${levels.join('\n')}\n`;
}

t.test('files source: a problem names file, line and object', async (t) => {
  const { folder, source } = await startedIn(t, { 'pod.yaml': WEB });
  folder.write('policy.yaml', `${WEB.replaceAll('web', 'api')}---\n${DENY.replace('app: api', 'app: 7')}`);
  await until('it is told of', () => source.problems.length > 0);
  const [problem] = source.problems;
  t.match(problem, { file: folder.at('policy.yaml'), object: 'networkpolicy/shop/deny-most' });
  const lines = readFileSync(folder.at('policy.yaml'), 'utf8').split('\n');
  t.match(lines[problem!.line! - 1], /app: 7/);
});

t.test(
  'files source: a policy that never could be read isolates what it selects, and lets nobody in',
  async (t) => {
    for (const [how, text, selected] of [
      ['its rule cannot be read', DENY.replace('app: api', 'app: 7'), {}],
      ['its rule cannot be read, its selector can', policy('p', '7', { app: 'web' }), { app: 'web' }],
      ['its selector cannot be read', policy('p', 'x', { app: 'in valid' }), {}],
      ['its name cannot be read', DENY.replace('deny-most', '[]'), {}],
      ['its namespace cannot be read', DENY.replace('namespace: shop', 'namespace: [x]'), {}],
    ] as const) {
      t.test(how, { buffered: true }, async (t) => {
        const { folder, source } = await startedIn(t, { 'pod.yaml': WEB });
        folder.write('policy.yaml', text);
        await until('it is in force', () => source.snapshot!.policies.length === 1);
        t.match(source.snapshot!.policies[0], {
          namespace: 'shop',
          podSelector: { matchLabels: selected },
          policyTypes: ['Ingress', 'Egress'],
          ingress: [],
          egress: [],
        });
        t.match(told(source), /isolates its pods and allows nothing/);
        folder.write('policy.yaml', 'kind: [}');
        await sleep(NOTICE_MS);
        t.equal(source.snapshot!.policies.length, 1, 'also when it gets worse');
        folder.remove('policy.yaml');
        await until('it is gone', () => source.snapshot!.policies.length === 0);
        t.strictSame(source.problems, []);
      });
    }
  },
);

t.test('files source: without a snapshot, one broken file keeps everything out', async (t) => {
  const folder = new Folder();
  t.teardown(() => folder.dispose());
  folder.write('pod.yaml', WEB);
  folder.write('policy.yaml', DENY.replace('app: api', 'app: 7'));
  const source = folder.source();
  t.teardown(() => source.close());
  void source.start();
  await until('it is told of', () => source.problems.length > 0);
  await sleep(NOTICE_MS);
  t.equal(source.snapshot, undefined);
});
