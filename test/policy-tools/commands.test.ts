import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { clusterPolicy, namespace, pod, policy, workload } from './cluster.ts';

const root = t.testdir();
const MAIN = join(import.meta.dirname, '../../src/main.ts');

/** Runs the program itself, as a user would. */
function run(args: string[], input = ''): { status: number | null; out: string; err: string } {
  const done = spawnSync(process.execPath, [MAIN, 'policy', ...args], {
    input,
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status: done.status, out: done.stdout, err: done.stderr };
}

/** Writes manifests as files of YAML documents in a folder of their own. */
function folder(files: Record<string, readonly unknown[]>): string {
  const dir = mkdtempSync(join(root, 'case-'));
  for (const [name, objects] of Object.entries(files)) {
    mkdirSync(join(dir, name, '..'), { recursive: true });
    writeFileSync(join(dir, name), objects.map((one) => `---\n${JSON.stringify(one, null, 2)}\n`).join(''));
  }
  return dir;
}

const PG = { name: 'pg', containerPort: 5432 };
const SHOP = [
  namespace('shop', { team: 'shop' }),
  workload('Deployment', 'shop/web', { app: 'web' }, [{ name: 'http', containerPort: 8080 }]),
  workload('Deployment', 'shop/api', { app: 'api' }, [{ name: 'http', containerPort: 8000 }]),
  workload('StatefulSet', 'shop/db', { app: 'db' }, [PG]),
];
const api = (name: string): unknown => ({ podSelector: { matchLabels: { app: name } } });
const DB_ALLOW = policy('shop/db-allow', {
  podSelector: { matchLabels: { app: 'db' } },
  ingress: [{ from: [api('api')], ports: [{ port: 'pg' }] }],
});
const DENY = policy('shop/deny', { podSelector: {}, policyTypes: ['Egress'] });
const shop = folder({
  'apps/all.yaml': SHOP,
  'policies/db.yml': [DB_ALLOW],
  'apps/values.yaml': [{ image: { tag: 'v1' } }],
});

t.test('policy explain: an allowed call names the rule and exits with 0', (t) => {
  const { status, out, err } = run([
    'explain',
    '-f',
    shop,
    '--from',
    'shop/deploy/api',
    '--to',
    'shop/sts/db',
    '--port',
    'pg',
  ]);
  t.equal(status, 0, err);
  t.match(out, /^ALLOW {2}shop\/deploy\/api -> shop\/sts\/db {2}TCP 5432$/m);
  t.match(out, /allowed by networkpolicy\/shop\/db-allow rule 1/);
  t.match(out, /rule 1: from pods with app=api of namespace shop; TCP pg/);
  t.end();
});

t.test(
  'policy explain: a denied call tells the nearest miss and the remedy, in a dozen lines, and exits with 3',
  (t) => {
    const { status, out } = run([
      'explain',
      '--manifests',
      shop,
      '--from',
      'shop/deploy/web',
      '--to',
      'shop/sts/db',
      '--port',
      '5432',
    ]);
    t.equal(status, 3);
    t.match(
      out,
      /rule 1 of networkpolicy\/shop\/db-allow would match if the peer had app=api; it has app=web/,
    );
    t.match(
      out,
      /add to spec\.ingress of networkpolicy\/shop\/db-allow: - \{from: \[\{podSelector: \{matchLabels: \{app: web\}\}\}\], ports: \[\{port: 5432\}\]\}/,
    );
    t.ok(out.trimEnd().split('\n').length <= 12);
    t.notMatch(
      out,
      /label shop\/deploy\/web/,
      'a label that the selector of the workload fixes is no remedy',
    );
    t.end();
  },
);

t.test('policy explain: a proposed change, applied to the manifests, makes verdicts allow', (t) => {
  const manifests = [...SHOP, DB_ALLOW, DENY];
  const args = [
    'explain',
    '-f',
    '-',
    '--from',
    'shop/deploy/web',
    '--to',
    'shop/sts/db',
    '--port',
    '5432',
    '-o',
    'json',
  ];
  const answer = JSON.parse(
    run(args, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: manifests })).out,
  );
  t.equal(answer.verdict, 'deny');
  t.ok(answer.changes.length > 0);
  for (const { rules } of answer.changes) {
    let changed = structuredClone(manifests) as any[]; // oxlint-disable-line typescript/no-explicit-any -- the API's own shape
    for (const { policy: id, direction, rule, created } of rules) {
      if (created !== undefined) changed = [...changed, created];
      else {
        const target = changed.find(
          (one) =>
            `networkpolicy/${one.metadata.namespace}/${one.metadata.name}` === id &&
            one.kind === 'NetworkPolicy',
        );
        target.spec[direction] = [...(target.spec[direction] ?? []), rule];
      }
    }
    const probes = [{ from: 'shop/deploy/web', to: 'shop/sts/db', port: 5432, protocol: 'TCP' }];
    const { out } = run(['verdicts'], `${JSON.stringify({ manifests: changed, probes })}\n`);
    t.strictSame(JSON.parse(out), { verdicts: ['allow'], refused: [] });
  }
  t.end();
});

t.test('policy explain: a rule for one workload is not put into a policy for all', (t) => {
  const { out } = run(
    ['explain', '-f', '-', '--from', 'shop/deploy/web', '--to', '192.0.2.7', '--port', '443'],
    JSON.stringify({ kind: 'List', apiVersion: 'v1', items: [...SHOP, DENY] }),
  );
  t.match(out, /create networkpolicy\/shop\/web-egress with spec: .*192\.0\.2\.7\/32/);
  t.end();
});

t.test('policy explain: a cluster policy that denies is named, with its rule', (t) => {
  const deny = clusterPolicy('no-web', {
    tier: 'Admin',
    priority: 1,
    subject: { namespaces: {} },
    ingress: [
      {
        name: 'keep out',
        action: 'Deny',
        from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } } }],
      },
    ],
  });
  const { status, out } = run(
    ['explain', '-f', '-', '--from', 'shop/deploy/web', '--to', 'shop/sts/db', '--port', '1'],
    JSON.stringify({ kind: 'List', apiVersion: 'v1', items: [...SHOP, deny] }),
  );
  t.equal(status, 3);
  t.match(out, /DENIED by clusternetworkpolicy\/no-web rule 1/);
  t.match(out, /Deny «keep out» from pods with app=web of every namespace; any port/);
  t.match(out, /no NetworkPolicy can allow it/);
  t.end();
});

const WRONG: readonly (readonly [string, string[], string, RegExp])[] = [
  ['no manifests', ['explain', '--from', 'a', '--to', 'b', '--port', '1'], '', /there is no kubeconfig.*-f/],
  [
    'an unknown end, with what there is',
    ['explain', '-f', shop, '--from', 'shop/web', '--to', 'shop/sts/db', '--port', '1'],
    '',
    /--from shop\/web: .*did you mean shop\/deploy\/web/,
  ],
  [
    'a named port that is not there',
    ['explain', '-f', shop, '--from', 'shop/deploy/web', '--to', 'shop/sts/db', '--port', 'http'],
    '',
    /--port http: shop\/sts\/db has no port of that name; it has pg/,
  ],
  [
    'a port out of range',
    ['explain', '-f', shop, '--from', 'shop/deploy/web', '--to', 'shop/sts/db', '--port', '0'],
    '',
    /--port 0/,
  ],
  ['a file that is not there', ['lint', '-f', '/nonexistent'], '', /\/nonexistent cannot be read/],
  ['broken YAML, with the line', ['lint', '-f', '-'], 'a: b\nc: [\n', /standard input:\d+: is no YAML/],
  ['a Helm template, with the remedy', ['lint', '-f', '-'], 'a: {{ .Values.x }\n', /helm template/],
  ['nothing to read', ['matrix', '--port', '1', '-f', '-'], 'a: 1\n', /no Kubernetes object/],
  [
    'an unknown format',
    ['matrix', '--port', '1', '-f', shop, '-o', 'xml'],
    '',
    /-o xml: has to be one of table/,
  ],
  ['one state to compare', ['diff', shop], '', /policy diff OLD NEW/],
  ['a selector that is none', ['diff', '-f', shop, '--enrol', 'a b'], '', /--enrol a b/],
  ['a selector of nothing', ['diff', '-f', shop, '--enrol', 'app=none'], '', /selects no pod/],
];
for (const [what, args, input, message] of WRONG) {
  t.test(`policy: ${what} is told in one message, and exits with 2`, (t) => {
    const { status, out, err } = run(args, input);
    t.equal(status, 2);
    t.match(err.replaceAll('\n', ' '), message);
    t.notMatch(err, /^ {4}at /m, 'no stack');
    t.equal(out, '');
    t.end();
  });
}

t.test(
  'policy: an object that the API server would refuse stops the answer, unless it is left out on purpose',
  (t) => {
    const bad = folder({ 'all.yaml': [...SHOP, policy('shop/bad', { ingress: [{ from: [{}] }] })] });
    const args = ['explain', '-f', bad, '--from', 'shop/deploy/web', '--to', 'shop/sts/db', '--port', '1'];
    const refused = run(args);
    t.equal(refused.status, 2);
    t.match(refused.err, /all\.yaml:\d+: NetworkPolicy shop\/bad: spec\.ingress\[0\]\.from\[0\]/);
    t.equal(run([...args, '--skip-refused']).status, 0);
    t.end();
  },
);

t.test('policy matrix: every format says the same', (t) => {
  const ask = (format: string): string => run(['matrix', '-f', shop, '--port', '5432', '-o', format]).out;
  const { flows } = JSON.parse(ask('json'));
  const verdict = (from: string, to: string): string =>
    flows.find((one: { from: string; to: string }) => one.from === from && one.to === to).verdict;
  t.equal(verdict('shop/deploy/api', 'shop/sts/db'), 'allow');
  t.equal(verdict('shop/deploy/web', 'shop/sts/db'), 'deny');
  t.match(ask('csv'), /^shop\/deploy\/web,shop\/sts\/db,TCP,5432,deny,/m);
  t.match(ask('table'), /^1 shop\/deploy\/web +\. yes +-$/m);
  t.match(ask('mermaid'), /^flowchart LR\n.*n1 --> n2/s);
  t.notMatch(ask('mermaid'), /n0 --> n2/);
  t.match(ask('dot'), /"shop\/deploy\/api" -> "shop\/sts\/db";/);
  t.end();
});

t.test('policy diff: what opens is told and exits with 1, what closes exits with 0', (t) => {
  const open = policy('shop/db-allow', {
    podSelector: { matchLabels: { app: 'db' } },
    ingress: [
      {
        from: [api('api'), { ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }],
        ports: [{ port: 'pg' }, { port: 9000, endPort: 9002 }],
      },
    ],
  });
  const wider = folder({ 'all.yaml': [...SHOP, open] });
  const opened = run(['diff', shop, wider]);
  t.equal(opened.status, 1);
  t.match(opened.out, /\+ shop\/deploy\/api -> shop\/sts\/db {2}TCP 9000-9002\n/);
  t.match(opened.out, /\+ 10\.0\.0\.0\/8 \(as 10\.0\.0\.1\) -> shop\/sts\/db {2}TCP 5432, TCP 9000-9002\n/);
  t.notMatch(opened.out, /10\.1\.0\.0/);
  const closed = run(['diff', wider, shop, '-o', 'json']);
  t.equal(closed.status, 0);
  t.match(JSON.parse(closed.out), { opens: [], closes: { length: 2 } });
  const same = run(['diff', shop, shop]);
  t.equal(same.status, 0);
  t.match(same.out, /^opens nothing\ncloses nothing\n/);
  t.end();
});

t.test('policy diff: replicas that policies do not tell apart are one line', (t) => {
  const replicas = ['1', '2', '3'].map((n) =>
    pod(`shop/web-${n}`, { app: 'web', 'pod-template-hash': n }, { ip: `10.0.0.${n}` }),
  );
  const before = folder({
    'all.yaml': [...replicas, pod('shop/db-0', { app: 'db' }, { ip: '10.0.0.9' }), DB_ALLOW],
  });
  const after = folder({
    'all.yaml': [
      ...replicas,
      pod('shop/db-0', { app: 'db' }, { ip: '10.0.0.9' }),
      policy('shop/db-allow', {
        podSelector: { matchLabels: { app: 'db' } },
        ingress: [{ from: [api('web')] }],
      }),
    ],
  });
  const { out } = run(['diff', before, after]);
  t.match(out, /opens 1 flow:\n {2}\+ shop\/web-1 \(\+2 alike\) -> shop\/db-0 {2}any port\n/);
  t.end();
});

t.test(
  'policy diff --enrol: flows that need the proof of a peer that has none are told, and exit with 1',
  (t) => {
    const { status, out } = run(['diff', '-f', shop, '--enrol', 'app in (db)']);
    t.equal(status, 1);
    t.match(out, /- shop\/deploy\/api -> shop\/sts\/db {2}TCP 5432\n.*proved its identity/);
    t.equal(
      run(['diff', '-f', shop, '--enrol', 'app']).status,
      0,
      'enrolled together, they prove themselves to each other',
    );
    t.end();
  },
);

t.test('policy verdicts: one line out for each line in, in order, whatever the line', (t) => {
  const { status, out } = run(
    ['verdicts'],
    '{"manifests":[],"probes":[]}\n\nnope\n{"manifests":[],"probes":[]}',
  );
  const lines = out
    .trimEnd()
    .split('\n')
    .map((line) => Object.keys(JSON.parse(line)));
  t.equal(status, 0);
  t.strictSame(lines, [['verdicts', 'refused'], ['error'], ['error'], ['verdicts', 'refused']]);
  t.end();
});

t.test('policy lint: findings have object, field, why and remedy; errors exit with 1', (t) => {
  const bad = folder({
    'all.yaml': [...SHOP, policy('shop/bad', { podSelector: { matchLabels: { app: 'a b' } } })],
  });
  const { status, out } = run(['lint', '-f', bad, '-o', 'json']);
  t.equal(status, 1);
  const [finding] = JSON.parse(out);
  t.match(finding, {
    rule: 'refused-object',
    level: 'error',
    object: 'NetworkPolicy shop/bad',
    field: 'spec.podSelector.matchLabels[app]',
    why: /label value/,
    remedy: /correct/,
    origin: { file: /all\.yaml$/, line: Number },
  });
  const sarif = JSON.parse(run(['lint', '-f', bad, '-o', 'sarif', '--fail-on', 'never']).out);
  t.match(sarif, {
    version: '2.1.0',
    runs: [
      {
        results: [
          {
            ruleId: 'refused-object',
            level: 'error',
            locations: [{ physicalLocation: { region: { startLine: Number } } }],
          },
        ],
      },
    ],
  });
  t.end();
});
