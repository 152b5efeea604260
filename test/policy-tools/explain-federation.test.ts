import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { findForeignEnd, readFederation } from '../../src/policy-tools/foreign-end.ts';
import { clusterPolicy, namespace, policy, workload } from './cluster.ts';

const folder = t.testdir();
const MAIN = join(import.meta.dirname, '../../src/main.ts');
const FEDERATION = join(folder, 'federation.yaml');
const MANIFESTS = join(folder, 'all.yaml');

writeFileSync(
  FEDERATION,
  `federation:
- trust_domain: east.example
  keys_url: https://authority.east.example:14443/v1/jwks
  ca_file: east.pem
  networks: [203.0.113.10/32]
  local_namespaces: [shop]
  namespaces:
  - {name: shop, as: shop.east, labels: {side: east}, pod_labels: [app]}
`,
);
const web = {
  namespaceSelector: { matchLabels: { side: 'east' } },
  podSelector: { matchLabels: { app: 'web' } },
};
writeFileSync(
  MANIFESTS,
  [
    namespace('shop', {}),
    namespace('bank', {}),
    workload('Deployment', 'shop/db', { app: 'db' }),
    workload('Deployment', 'bank/vault', { app: 'vault' }),
    policy('shop/db', {
      podSelector: { matchLabels: { app: 'db' } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{ from: [web] }],
      egress: [
        { to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop.east' } } }] },
      ],
    }),
    // It would select what stands in the mapped namespace, if that were a namespace of this cluster.
    clusterPolicy('deny-all-of-east', {
      tier: 'Admin',
      priority: 1,
      subject: { namespaces: { matchLabels: { side: 'east' } } },
      ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
    }),
  ]
    .map((one) => `---\n${JSON.stringify(one)}\n`)
    .join(''),
);

function explain(...args: string[]): { status: number | null; out: string; err: string } {
  const command = ['policy', 'explain', '-f', MANIFESTS, '--port', '5432', ...args];
  const done = spawnSync(process.execPath, [MAIN, ...command], { encoding: 'utf8', timeout: 60_000 });
  return { status: done.status, out: done.stdout, err: done.stderr };
}

const EAST = ['--federation', FEDERATION];

t.test(
  'policy explain: a caller of another domain is judged as the pod that the mapping makes of it',
  (t) => {
    const allowed = explain(
      ...EAST,
      '--from',
      'east.example/shop/web-0',
      '--from-labels',
      'app=web',
      '--to',
      'shop/deploy/db',
    );
    t.equal(allowed.status, 0, allowed.err);
    t.match(allowed.out, /^ALLOW {2}shop.east\/web-0 \(of east.example\) -> shop\/deploy\/db/m);
    t.match(allowed.out, /egress of .*: not asked here; the policies there decide it/);
    t.match(allowed.out, /allowed by networkpolicy\/shop\/db rule 1/);

    const denied = explain(
      ...EAST,
      '--from',
      'east.example/shop/web-0',
      '--from-labels',
      'app=guest',
      '--to',
      'shop/deploy/db',
    );
    t.equal(denied.status, 3, denied.err);
    t.match(denied.out, /would match if the peer had app=web; it has app=guest/);
    t.match(denied.out, /add to spec.ingress of networkpolicy\/shop\/db/);
    t.notMatch(
      denied.out,
      /label (shop.east|namespace)/,
      'nobody is told to label what is in another cluster',
    );
    t.end();
  },
);

t.test('policy explain: a label of another domain that does not count here does not count', (t) => {
  const federation = readFederation(
    'federation: [{trust_domain: east.example, namespaces: [{name: shop, as: shop.east, pod_labels: [app]}]}]',
    'a file',
  );
  const end = findForeignEnd(
    'east.example/shop/web',
    '--from',
    federation,
    'app=web,tier=gold,identity.countersign.io/x=y',
  );
  t.strictSame(end?.labels, { app: 'web' });
  t.match(end?.namespaceLabels, { 'kubernetes.io/metadata.name': 'shop.east' });
  t.equal(findForeignEnd('shop/deploy/web', '--from', federation, undefined), undefined);
  t.end();
});

t.test('policy explain: a called pod of another domain is judged by the egress here alone', (t) => {
  const { status, out, err } = explain(
    ...EAST,
    '--from',
    'shop/deploy/db',
    '--to',
    'east.example/shop/web-0',
    '-o',
    'json',
  );
  t.equal(status, 0, err);
  t.match(JSON.parse(out), {
    verdict: 'allow',
    to: 'shop.east/web-0',
    toTrustDomain: 'east.example',
    egress: { kind: 'allowed' },
    ingress: { kind: 'not-asked' },
  });
  t.end();
});

t.test('policy explain: what no policy can allow is told with the field that decides', (t) => {
  for (const [args, problem] of [
    [
      ['--from', 'east.example/bank/x', '--to', 'shop/deploy/db'],
      /namespace bank of east.example is not mapped.*mapped are: shop/,
    ],
    [['--from', 'east.example/shop', '--to', 'shop/deploy/db'], /write east.example\/NAMESPACE\/POD/],
    [
      ['--from', 'east.example/shop/a', '--to', 'bank/deploy/vault'],
      /does not know east.example.*local_namespaces has shop/,
    ],
    [['--from', 'east.example/shop/a', '--to', 'east.example/shop/b'], /both of other trust domains/],
    [
      ['--from', 'shop/deploy/db', '--to', 'bank/deploy/vault', '--to-labels', 'a=b'],
      /--to-labels: .* is of no trust domain/,
    ],
    [
      ['--from', 'east.example/shop/a', '--from-labels', 'app', '--to', 'shop/deploy/db'],
      /«app» is no label/,
    ],
  ] as const) {
    const { status, err } = explain(...EAST, ...args);
    t.equal(status, 2, args.join(' '));
    t.match(err, problem);
  }
  for (const text of ['', '{}', 'federation: []', 'federation: 5', '- x', 'a: [']) {
    t.throws(() => readFederation(text, 'file.yaml'), { message: /file.yaml/ }, JSON.stringify(text));
  }
  t.end();
});
