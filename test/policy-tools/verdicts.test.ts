import fc from 'fast-check';
import t from 'tap';
import { answerLine } from '../../src/policy-tools/verdicts.ts';
import { apiSpec } from '../../src/policy/change-yaml.ts';
import * as any from '../policy/arbitraries.ts';
import { oracleAllows } from '../policy/oracle.ts';
import { runs } from '../support/effort.ts';
import { namespace, node, pod, policy, workload } from './cluster.ts';

type Verdict = 'allow' | 'deny';

/** Asks with a text such as `x/a x/b 80` or `x/a ip:10.0.0.1 53 UDP`. */
function ask(manifests: unknown[], probes: readonly string[], dns?: unknown): Record<string, unknown> {
  const line = JSON.stringify({
    manifests,
    probes: probes.map((text) => {
      const [from, to, port, protocol = 'TCP'] = text.split(' ');
      return { from, to, port: Number(port), protocol };
    }),
    ...(dns === undefined ? {} : { dns }),
  });
  return answerLine(line) as Record<string, unknown>;
}

const HTTP = { name: 'http', containerPort: 8080 };
const A = pod('x/a', { app: 'a' }, { ip: ['10.0.0.1', 'fd00::1'], ports: [HTTP] });
const B = pod('x/b', { app: 'b' }, { ip: ['10.0.0.2', 'fd00::2'] });
const C = pod('y/c', { app: 'b' }, { ip: '10.0.0.3' });
const DENY = { podSelector: {}, policyTypes: ['Ingress', 'Egress'] };
const fromB = (more: object = {}): unknown => ({
  podSelector: { matchLabels: { app: 'a' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { app: 'b' } } }], ...more }],
});
const fromBlock = (cidr: string, except: string[] = []): unknown => ({
  podSelector: { matchLabels: { app: 'a' } },
  ingress: [{ from: [{ ipBlock: { cidr, except } }] }],
});
const toBlock = (cidr: string): unknown => ({
  podSelector: { matchLabels: { app: 'a' } },
  policyTypes: ['Egress'],
  egress: [{ to: [{ ipBlock: { cidr } }] }],
});
const named = (port: string, protocol = 'TCP'): object => ({ ports: [{ port, protocol }] });

const CASES: readonly (readonly [string, unknown[], Readonly<Record<string, Verdict>>])[] = [
  [
    'no policy allows all',
    [A, B],
    { 'x/a x/b 80': 'allow', 'ip:8.8.8.8 x/a 1 SCTP': 'allow', 'x/a ip:8.8.8.8 53 UDP': 'allow' },
  ],
  [
    'both the egress of the source and the ingress of the destination count',
    [A, B, C, policy('x/deny', DENY), policy('x/in', fromB())],
    { 'x/b x/a 80': 'deny', 'y/c x/a 80': 'deny', 'x/a y/c 80': 'deny', 'y/c y/c 80': 'allow' },
  ],
  [
    'a podSelector alone means pods of the own namespace',
    [A, B, C, policy('x/in', fromB())],
    { 'x/b x/a 80': 'allow', 'y/c x/a 80': 'deny', 'ip:8.8.8.8 x/a 80': 'deny' },
  ],
  [
    'an address that a live pod owns means the pod, as source and as destination',
    [A, B, C, policy('x/in', fromB())],
    {
      'ip:10.0.0.2 ip:10.0.0.1 80': 'allow',
      'ip:10.0.0.3 x/a 80': 'deny',
      'ip:fd00::2 x/a 80': 'allow',
      'ip:::ffff:10.0.0.2 x/a 80': 'allow',
    },
  ],
  [
    'a pod may always call itself, by whatever name',
    [A, policy('x/deny', DENY)],
    { 'x/a x/a 80': 'allow', 'x/a ip:10.0.0.1 80': 'allow', 'ip:fd00::1 x/a 80': 'allow' },
  ],
  [
    'an ipBlock matches pods by the address of the call, and a pod has several',
    [A, B, C, policy('x/in', fromBlock('10.0.0.0/24', ['10.0.0.3/32']))],
    {
      'x/b x/a 80': 'allow',
      'y/c x/a 80': 'deny',
      'ip:fd00::2 ip:fd00::1 80': 'deny',
      'ip:10.0.0.77 x/a 80': 'allow',
      'ip:10.0.1.0 x/a 80': 'deny',
    },
  ],
  [
    'egress to a block holds for pods and for others, of its own family only',
    [A, B, C, policy('x/out', toBlock('10.0.0.2/31'))],
    {
      'x/a x/b 80': 'allow',
      'x/a y/c 80': 'allow',
      'x/a ip:10.0.0.4 80': 'deny',
      'x/a ip:fd00::2 80': 'deny',
    },
  ],
  [
    'a named port is that of the destination and of its protocol',
    [A, B, policy('x/in', fromB(named('http')))],
    { 'x/b x/a 8080': 'allow', 'x/b x/a 8080 UDP': 'deny', 'x/b x/a 80': 'deny' },
  ],
  [
    'the ports of sidecars have names, those of other init containers do not',
    [
      B,
      pod(
        'x/a',
        { app: 'a' },
        {
          ip: '10.0.0.1',
          spec: {
            initContainers: [
              { name: 's', restartPolicy: 'Always', ports: [{ name: 'metrics', containerPort: 9090 }] },
              { name: 'i', ports: [{ name: 'metrics', containerPort: 9091 }] },
            ],
          },
        },
      ),
      policy('x/in', fromB(named('metrics'))),
    ],
    { 'x/b x/a 9090': 'allow', 'x/b x/a 9091': 'deny' },
  ],
  [
    'one name for ports of two containers opens both',
    [
      B,
      pod(
        'x/a',
        { app: 'a' },
        {
          spec: {
            containers: [
              { name: 'one', ports: [HTTP] },
              { name: 'two', ports: [{ name: 'http', containerPort: 8081 }] },
            ],
          },
        },
      ),
      policy('x/in', fromB(named('http'))),
    ],
    { 'x/b x/a 8080': 'allow', 'x/b x/a 8081': 'allow', 'x/b x/a 8082': 'deny' },
  ],
  [
    'an egress rule with a named port needs a destination that is a pod',
    [
      A,
      B,
      policy('x/out', {
        podSelector: { matchLabels: { app: 'b' } },
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 'http' }] }],
      }),
    ],
    { 'x/b x/a 8080': 'allow', 'x/b x/a 80': 'deny', 'x/b ip:8.8.8.8 8080': 'deny' },
  ],
  [
    'ranges of ports hold their ends, on their protocol',
    [A, B, policy('x/in', fromB({ ports: [{ port: 100, endPort: 200, protocol: 'SCTP' }] }))],
    {
      'x/b x/a 100 SCTP': 'allow',
      'x/b x/a 200 SCTP': 'allow',
      'x/b x/a 201 SCTP': 'deny',
      'x/b x/a 150': 'deny',
    },
  ],
  [
    'a pod in the network of its node is the address of the node: selectors pass it over, blocks do not',
    [
      A,
      pod('x/b', { app: 'b' }, { ip: '192.168.0.5', spec: { hostNetwork: true, nodeName: 'n5' } }),
      policy('x/in', fromB()),
      policy('x/block', fromBlock('192.168.0.6/32')),
      pod('x/h', {}, { ip: '192.168.0.6', spec: { hostNetwork: true } }),
      policy('x/deny', DENY),
      policy('x/out', toBlock('192.168.0.5/32')),
    ],
    {
      'x/b x/a 80': 'deny',
      'x/h x/a 80': 'allow',
      'x/a x/b 80': 'allow',
      'x/a x/h 80': 'deny',
      'x/b ip:8.8.8.8 80': 'allow',
    },
  ],
  [
    'what comes from the own node is let in; calls to it are judged',
    [
      pod(
        'x/a',
        { app: 'a' },
        { ip: '10.0.0.1', spec: { nodeName: 'n1' }, status: { hostIP: '192.168.0.1' } },
      ),
      node('n1', '192.168.0.11'),
      node('n2', '192.168.0.2'),
      pod('k/agent', {}, { spec: { hostNetwork: true, nodeName: 'n1' } }),
      policy('x/deny', DENY),
    ],
    {
      'ip:192.168.0.1 x/a 80': 'allow',
      'ip:192.168.0.11 x/a 80': 'allow',
      'k/agent x/a 80': 'allow',
      'ip:192.168.0.2 x/a 80': 'deny',
      'x/a ip:192.168.0.11 80': 'deny',
    },
  ],
  [
    'the address of a finished pod is its live owner, or nobody',
    [
      A,
      pod('x/done', { app: 'b' }, { ip: '10.0.0.9', status: { phase: 'Succeeded' } }),
      pod('x/old', { app: 'b' }, { ip: '10.0.0.8', status: { phase: 'Failed' } }),
      pod('x/new', { app: 'z' }, { ip: '10.0.0.8' }),
      policy('x/in', fromB()),
    ],
    {
      'ip:10.0.0.9 x/a 80': 'deny',
      'x/done x/a 80': 'deny',
      'ip:10.0.0.8 x/a 80': 'deny',
      'x/new x/a 80': 'deny',
    },
  ],
  [
    'a pod that is going still counts; an address that two have belongs to the one that stays',
    [
      A,
      pod(
        'x/going',
        { app: 'b' },
        { ip: '10.0.0.7', metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } },
      ),
      pod('x/go2', { app: 'b' }, { ip: '10.0.0.6', metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }),
      pod('x/stay', { app: 'z' }, { ip: '10.0.0.6' }),
      policy('x/in', fromB()),
    ],
    { 'x/going x/a 80': 'allow', 'ip:10.0.0.7 x/a 80': 'allow', 'ip:10.0.0.6 x/a 80': 'deny' },
  ],
  [
    'a pod without address is matched by its labels and by no block',
    [A, pod('x/p', { app: 'b' }), policy('x/in', fromB()), policy('x/block', fromBlock('0.0.0.0/0'))],
    { 'x/p x/a 80': 'allow', 'y/none x/a 80': 'deny' },
  ],
  [
    'a namespace without object has its name for a label and no other',
    [
      A,
      C,
      policy('x/in', {
        podSelector: {},
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'y' } } }] }],
      }),
    ],
    { 'y/c x/a 80': 'allow', 'x/b x/a 80': 'deny' },
  ],
  [
    'labels of namespaces count, also of those that come later in the list',
    [
      A,
      C,
      policy('x/in', {
        podSelector: {},
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: 't' } } }] }],
      }),
      namespace('y', { team: 't' }),
    ],
    { 'y/c x/a 80': 'allow' },
  ],
  [
    'a workload stands for a pod of its template, without address',
    [
      workload('Deployment', 'x/web', { app: 'b' }),
      workload('CronJob', 'x/tidy', { app: 'b' }),
      A,
      policy('x/in', fromB()),
      policy('x/block', fromBlock('0.0.0.0/0')),
    ],
    { 'x/deploy/web x/a 80': 'allow', 'x/deployment/web x/a 80': 'allow', 'x/cronjob/tidy x/a 80': 'allow' },
  ],
];

for (const [name, manifests, expected] of CASES) {
  t.test(`verdicts: ${name}`, (t) => {
    const answer = ask(manifests, Object.keys(expected));
    t.strictSame(answer['refused'], []);
    const verdicts = answer['verdicts'] as Verdict[];
    t.strictSame(Object.fromEntries(Object.keys(expected).map((probe, i) => [probe, verdicts[i]])), expected);
    t.end();
  });
}

t.test('verdicts: a DNS name means all of its addresses, pods among them', (t) => {
  const dns = { 'a.example': ['1.1.1.1'], 'ab.example': ['1.1.1.1', '2.2.2.2'], 'b.example': ['10.0.0.2'] };
  const out = {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [{ to: [{ ipBlock: { cidr: '1.1.1.1/32' } }, { podSelector: { matchLabels: { app: 'b' } } }] }],
  };
  const probes = ['a', 'ab', 'b', 'none', 'constructor'].map((one) => `x/a fqdn:${one}.example 443`);
  t.strictSame(ask([A, B, policy('x/out', out)], probes, dns)['verdicts'], [
    'allow',
    'deny',
    'allow',
    'deny',
    'deny',
  ]);
  t.end();
});

t.test('verdicts: refused objects are listed with kind and name, and do not count', (t) => {
  const bad = policy('x/bad', { podSelector: {}, ingress: [{ from: [{}] }] });
  const noNamespace = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'n' },
    spec: { podSelector: { matchLabels: { a: 1 } } },
  };
  const answer = ask(
    [
      A,
      B,
      bad,
      noNamespace,
      namespace('Upper'),
      policy('x/twice', fromB()),
      policy('x/twice', DENY),
      pod('x/c', { app: 'a b' }),
      {
        apiVersion: 'extensions/v1beta1',
        kind: 'NetworkPolicy',
        metadata: { namespace: 'x', name: 'old' },
        spec: {},
      },
      { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'passed-over' } },
      { apiVersion: 'crd.projectcalico.org/v1', kind: 'NetworkPolicy', metadata: { name: 'not-ours' } },
      'nonsense',
    ],
    ['x/b x/a 80'],
  );
  t.strictSame(answer['verdicts'], ['allow']);
  t.strictSame(
    (answer['refused'] as string[]).map((text) => text.slice(0, text.indexOf(':'))),
    [
      'NetworkPolicy x/bad',
      'NetworkPolicy default/n',
      'Namespace /Upper',
      'NetworkPolicy x/twice',
      'Pod x/c',
      'NetworkPolicy x/old',
      'Object default/',
    ],
  );
  t.match((answer['refused'] as string[])[0], /spec\.ingress\[0\]\.from\[0\] must have/);
  t.end();
});

t.test('verdicts: lists count as their items, typed lists too', (t) => {
  const { apiVersion: _, kind: __, ...bare } = B;
  const manifests = [
    { apiVersion: 'v1', kind: 'List', items: [A, policy('x/in', fromB())] },
    { apiVersion: 'v1', kind: 'PodList', items: [bare] },
  ];
  t.strictSame(ask(manifests, ['x/b x/a 80', 'ip:8.8.8.8 x/a 80'])['verdicts'], ['allow', 'deny']);
  t.end();
});

t.test('verdicts: a probe that cannot be asked is denied and told, the others are answered', (t) => {
  const answer = ask(
    [A, B],
    ['x/a x/b 80', 'x/zz x/b 80', 'x/a x/b 0', 'x/a x/b 80 ICMP', 'fqdn:a x/b 80', 'ip:10.1 x/a 80'],
  );
  t.strictSame(answer['verdicts'], ['allow', 'deny', 'deny', 'deny', 'deny', 'deny']);
  t.equal((answer['errors'] as string[]).length, 5);
  t.match(answer['errors'], [
    /probes\[1\]\.from "x\/zz"/,
    /probes\[2\]\.port/,
    /\.protocol/,
    /DNS name/,
    /no IP address/,
  ]);
  t.end();
});

t.test('verdicts: a line that is no case gets an error and nothing else', (t) => {
  for (const line of [
    '',
    'nope',
    '[]',
    '{}',
    '{"manifests":[]}',
    '{"manifests":{},"probes":[]}',
    '{"manifests":[],"probes":[],"dns":[]}',
  ]) {
    t.strictSame(Object.keys(answerLine(line)), ['error'], line);
  }
  t.strictSame(answerLine('{"manifests":[],"probes":[],"other":1}'), { verdicts: [], refused: [] });
  t.end();
});

t.test('verdicts: from the wire on they agree with the wording of the API', (t) => {
  let denied = 0;
  const facts = fc.record({
    name: fc.constantFrom('p', 'q'),
    labels: any.labels,
    ip: fc.constantFrom('10.0.0.1', '10.1.0.3', ''),
  });
  const check = fc.property(
    any.policies,
    any.labels,
    any.labels,
    facts,
    facts,
    any.query,
    (policies, web, shop, one, two, query) => {
      const namespaceLabels: Record<string, Record<string, string>> = { web, shop };
      const pods = [
        { ...one, namespace: 'shop', id: `shop/${one.name}` },
        { ...two, namespace: 'web', id: `web/${two.name}` },
      ] as const;
      const objects = [
        ...Object.entries(namespaceLabels).map(([name, labels]) => namespace(name, labels)),
        ...pods.map((one) => pod(one.id, one.labels, one.ip === '' ? {} : { ip: one.ip, ports: [HTTP] })),
        ...policies.map((one) => policy(`${one.namespace}/${one.name}`, apiSpec(one))),
      ];
      if (one.ip === two.ip && one.ip !== '') return true;
      const { port, protocol } = query;
      const answer = ask(objects, [`${pods[0].id} ${pods[1].id} ${port} ${protocol}`]);
      const known = (which: (typeof pods)[number]) => ({
        kind: 'proven' as const,
        address: which.ip,
        namespace: which.namespace,
        labels: which.labels,
        namespaceLabels: namespaceLabels[which.namespace]!,
      });
      const namedPorts = pods[1].ip === '' ? [] : [{ name: 'http', port: 8080, protocol: 'TCP' as const }];
      const expected =
        oracleAllows(policies, pods[0], {
          direction: 'outbound',
          peer: known(pods[1]),
          port,
          protocol,
          namedPorts,
        }) &&
        oracleAllows(
          policies,
          { ...pods[1], namedPorts },
          { direction: 'inbound', peer: known(pods[0]), port, protocol },
        );
      if (!expected) denied++;
      const lawful = (answer['refused'] as string[]).length === 0;
      return lawful && (answer['verdicts'] as Verdict[])[0] === (expected ? 'allow' : 'deny');
    },
  );
  fc.assert(check, { numRuns: runs(1000) });
  t.ok(denied > 100, `meets denials (${denied})`);
  t.end();
});
