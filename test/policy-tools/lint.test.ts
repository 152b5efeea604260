import t from 'tap';
import { lint, LINT_RULES } from '../../src/policy-tools/lint/lint.ts';
import { takeInventory } from '../../src/workloads/inventory.ts';
import { clusterPolicy, namespace, node, pod, policy, workload } from './cluster.ts';

const WEB = workload('Deployment', 'shop/web', { app: 'web' }, [{ name: 'http', containerPort: 8080 }]);
const DB = pod('shop/db-0', { app: 'db' }, { ip: '10.0.0.9', ports: [{ name: 'pg', containerPort: 5432 }] });
const labelled = (app: string): unknown => ({ podSelector: { matchLabels: { app } } });
const db = (more: object): unknown =>
  policy('shop/p', { podSelector: { matchLabels: { app: 'db' } }, ...more });
const everyPod = { subject: { namespaces: {} } };
const admin = (name: string, action: string): unknown =>
  clusterPolicy(name, {
    tier: 'Admin',
    priority: 5,
    ...everyPod,
    ingress: [{ action, from: [{ namespaces: {} }] }],
  });

/** What each rule finds, and the same made right, where it finds nothing. */
const CASES: readonly (readonly [rule: string, field: string, wrong: unknown[], right: unknown[]])[] = [
  [
    'refused-object',
    'spec.policyTypes[0]',
    [db({ policyTypes: ['ingress'] })],
    [db({ policyTypes: ['Ingress'] })],
  ],
  [
    'unknown-field',
    'spec.ingress[0].form',
    [db({ ingress: [{ form: [labelled('web')] }] })],
    [db({ ingress: [{ from: [labelled('web')] }] })],
  ],
  [
    'odd-value',
    'spec.ingress[0].from[0].ipBlock.cidr',
    [db({ ingress: [{ from: [{ ipBlock: { cidr: '192.0.2.1/24' } }] }] })],
    [db({ ingress: [{ from: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }] })],
  ],
  [
    'rules-without-type',
    'spec.egress',
    [db({ policyTypes: ['Ingress'], egress: [{}] })],
    [db({ policyTypes: ['Egress'], egress: [{}] })],
  ],
  [
    'empty-means-everybody',
    'spec.ingress[0].from',
    [db({ ingress: [{ from: [] }] })],
    [db({ ingress: [{}] })],
  ],
  [
    'empty-means-everybody',
    'spec.ingress[0].ports',
    [db({ ingress: [{ ports: [] }] })],
    [db({ ingress: [{}] })],
  ],
  ['namespace-missing', 'metadata', [namespace('other')], [namespace('shop')]],
  [
    'selects-nothing',
    'spec.podSelector',
    [policy('shop/p', labelled('bd'))],
    [policy('shop/p', labelled('db'))],
  ],
  [
    'selects-nothing',
    'spec.subject',
    [
      clusterPolicy('p', {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: { matchLabels: { no: 'no' } } },
      }),
    ],
    [clusterPolicy('p', { tier: 'Admin', priority: 1, ...everyPod })],
  ],
  [
    'peer-selects-nothing',
    'spec.ingress[0].from[0]',
    [db({ ingress: [{ from: [labelled('wbe')] }] })],
    [db({ ingress: [{ from: [labelled('web')] }] })],
  ],
  [
    'reserved-label',
    'spec.podSelector',
    [
      policy('shop/p', {
        podSelector: { matchExpressions: [{ key: 'identity.countersign.io/image', operator: 'Exists' }] },
      }),
    ],
    [policy('shop/p', labelled('db'))],
  ],
  [
    'namespace-label-on-pods',
    'spec.ingress[0].from[0].podSelector',
    [
      db({
        ingress: [{ from: [{ podSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }] }],
      }),
    ],
    [
      db({
        ingress: [
          { from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } }] },
        ],
      }),
    ],
  ],
  [
    'passing-label',
    'spec.podSelector',
    [policy('shop/p', { podSelector: { matchLabels: { 'pod-template-hash': 'abc' } } })],
    [policy('shop/p', labelled('db'))],
  ],
  [
    'rule-never-matters',
    'spec.ingress[1]',
    [
      db({
        ingress: [{ ports: [{ port: 1, endPort: 9 }] }, { from: [labelled('web')], ports: [{ port: 5 }] }],
      }),
    ],
    [
      db({
        ingress: [{ ports: [{ port: 1, endPort: 9 }] }, { from: [labelled('web')], ports: [{ port: 10 }] }],
      }),
    ],
  ],
  [
    'port-name-unknown',
    'spec.ingress[0].ports[0]',
    [db({ ingress: [{ ports: [{ port: 'postgres' }] }] })],
    [db({ ingress: [{ ports: [{ port: 'pg' }] }] })],
  ],
  [
    'port-name-unknown',
    'spec.egress[0].ports[0]',
    [
      policy('shop/p', {
        ...(labelled('web') as object),
        egress: [{ to: [labelled('db')], ports: [{ port: 'http' }] }],
      }),
    ],
    [
      policy('shop/p', {
        ...(labelled('web') as object),
        egress: [{ to: [labelled('db')], ports: [{ port: 'pg' }] }],
      }),
    ],
  ],
  [
    'one-sided-allow',
    'spec.ingress[0]',
    [
      db({ ingress: [{ from: [labelled('web')] }] }),
      policy('shop/w', { ...(labelled('web') as object), policyTypes: ['Egress'] }),
    ],
    [
      db({ ingress: [{ from: [labelled('web')] }] }),
      policy('shop/w', {
        ...(labelled('web') as object),
        policyTypes: ['Egress'],
        egress: [{ to: [labelled('db')] }],
      }),
    ],
  ],
  [
    'no-dns',
    'spec.egress',
    [db({ egress: [{ ports: [{ port: 443 }] }] })],
    [db({ egress: [{ ports: [{ port: 53, protocol: 'UDP' }] }] })],
  ],
  [
    'block-over-cluster',
    'spec.ingress[0].from[0].ipBlock',
    [db({ ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] })],
    [db({ ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/24'] } }] }] })],
  ],
  [
    'block-over-cluster',
    'spec.ingress[0].from[0].ipBlock',
    [node('n', '172.16.0.1'), db({ ingress: [{ from: [{ ipBlock: { cidr: '172.16.0.0/12' } }] }] })],
    [node('n', '172.32.0.1'), db({ ingress: [{ from: [{ ipBlock: { cidr: '172.16.0.0/12' } }] }] })],
  ],
  [
    'plugin-end-port',
    'spec.ingress[0].ports[0].endPort',
    [db({ ingress: [{ ports: [{ port: 1, endPort: 2 }] }] })],
    [db({ ingress: [{ ports: [{ port: 1 }] }] })],
  ],
  [
    'plugin-sctp',
    'spec.ingress[0].ports[0].protocol',
    [db({ ingress: [{ ports: [{ port: 1, protocol: 'SCTP' }] }] })],
    [db({ ingress: [{ ports: [{ port: 1 }] }] })],
  ],
  [
    'host-network',
    'spec.podSelector',
    [pod('shop/h', { app: 'h' }, { spec: { hostNetwork: true } }), policy('shop/p', labelled('h'))],
    [pod('shop/h', { app: 'h' }), policy('shop/p', labelled('h'))],
  ],
  [
    'equal-priority',
    'spec.priority',
    [admin('a', 'Accept'), admin('b', 'Deny')],
    [admin('a', 'Deny'), admin('b', 'Deny')],
  ],
  [
    'port-name-twice',
    'spec.containers',
    [
      pod(
        'shop/t',
        { app: 't' },
        {
          spec: {
            containers: [
              { ports: [{ name: 'web', containerPort: 1 }] },
              { ports: [{ name: 'web', containerPort: 2 }] },
            ],
          },
        },
      ),
      policy('shop/p', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] }),
    ],
    [
      pod(
        'shop/t',
        { app: 't' },
        {
          spec: {
            containers: [
              { ports: [{ name: 'web', containerPort: 1 }] },
              { ports: [{ name: 'web', containerPort: 1 }] },
            ],
          },
        },
      ),
      policy('shop/p', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] }),
    ],
  ],
];

const findings = (objects: unknown[]) =>
  lint(takeInventory([WEB, DB, ...objects].map((value) => ({ value }))));

for (const [rule, field, wrong, right] of CASES) {
  t.test(`lint: ${rule} at ${field} is found, and not where it is right`, (t) => {
    const found = findings(wrong).filter((one) => one.rule === rule);
    t.equal(found.length, 1);
    t.equal(found[0]?.field, field);
    t.ok(found[0]!.why.length > 20 && found[0]!.remedy.length > 5);
    t.strictSame(
      findings(right).filter((one) => one.rule === rule),
      [],
    );
    t.end();
  });
}

t.test('lint: every rule has a case and a line of description', (t) => {
  t.strictSame([...new Set(CASES.map(([rule]) => rule))].toSorted(), Object.keys(LINT_RULES).toSorted());
  t.end();
});

t.test('lint: of policies without workloads it does not say that they select nothing', (t) => {
  const alone = lint(
    takeInventory([{ value: db({ ingress: [{ from: [labelled('web')], ports: [{ port: 'pg' }] }] }) }]),
  );
  t.strictSame(alone, []);
  t.end();
});
