import t from 'tap';
import { answerLine } from '../../src/policy-tools/verdicts.ts';
import { clusterPolicy, namespace, node, pod, policy } from './cluster.ts';

type Verdict = 'allow' | 'deny';
type Fields = Record<string, unknown>;

const WORLD = [
  namespace('x', { team: 'x' }),
  namespace('y', { team: 'y' }),
  pod(
    'x/a',
    { app: 'a' },
    {
      ip: ['10.0.0.1', 'fd00::1'],
      ports: [
        { name: 'http', containerPort: 8080 },
        { name: 'dns', containerPort: 53, protocol: 'UDP' },
      ],
    },
  ),
  pod('x/b', { app: 'b' }, { ip: '10.0.0.2' }),
  pod('y/c', { app: 'c' }, { ip: '10.0.1.3', ports: [{ name: 'http', containerPort: 80 }] }),
  pod('y/host', { app: 'c' }, { ip: '192.168.0.1', spec: { hostNetwork: true, nodeName: 'n1' } }),
  node('n1', '192.168.0.1', { role: 'cp' }),
  node('n2', '192.168.0.2', { role: 'worker' }),
];
const ALL = { namespaces: {} };
const inX = { namespaces: { matchLabels: { team: 'x' } } };
const inY = { namespaces: { matchLabels: { team: 'y' } } };
const appOf = (app: string): Fields => ({
  pods: { namespaceSelector: {}, podSelector: { matchLabels: { app } } },
});
const rule = (action: string, peers: unknown[], direction: 'from' | 'to', more: Fields = {}): Fields => ({
  action,
  [direction]: peers,
  ...more,
});
const tcp = (number: number): Fields => ({ tcp: { destinationPort: { number } } });
const admin = (name: string, priority: number, more: Fields): Fields =>
  clusterPolicy(name, { tier: 'Admin', priority, subject: ALL, ...more });
const baseline = (name: string, priority: number, more: Fields): Fields =>
  clusterPolicy(name, { tier: 'Baseline', priority, subject: ALL, ...more });
const DENY_NP = policy('x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
const DNS = {
  'api.example.com': ['1.1.1.1'],
  'deep.api.example.com': ['1.1.1.2'],
  'example.com': ['1.1.1.3'],
  'Other.org': ['2.2.2.2'],
};

const CASES: readonly (readonly [string, readonly unknown[], Readonly<Record<string, Verdict>>])[] = [
  [
    'an Admin Deny comes before every NetworkPolicy that allows',
    [
      admin('d', 1, { subject: inX, ingress: [rule('Deny', [inY], 'from')] }),
      policy('x/open', { podSelector: {}, ingress: [{}] }),
    ],
    { 'y/c x/a 80': 'deny', 'x/b x/a 80': 'allow', 'ip:8.8.8.8 x/a 80': 'allow', 'y/host x/a 80': 'allow' },
  ],
  [
    'an Admin Accept comes before every NetworkPolicy that denies, in its own direction',
    [admin('a', 1, { subject: inX, ingress: [rule('Accept', [inY], 'from')] }), DENY_NP],
    { 'y/c x/a 80': 'allow', 'x/b x/a 80': 'deny', 'x/a y/c 80': 'deny' },
  ],
  [
    'Pass skips the rest of the tier',
    [
      admin('p', 1, {
        subject: inX,
        ingress: [rule('Pass', [appOf('c')], 'from'), rule('Deny', [ALL], 'from')],
      }),
      admin('later', 2, { ingress: [rule('Deny', [ALL], 'from')] }),
    ],
    { 'y/c x/a 80': 'allow', 'x/b x/a 80': 'deny' },
  ],
  [
    'Pass hands over to NetworkPolicy, and then to Baseline',
    [
      admin('p', 1, { ingress: [rule('Pass', [ALL], 'from')] }),
      DENY_NP,
      baseline('b', 1, { ingress: [rule('Deny', [inX], 'from')] }),
    ],
    { 'y/c x/a 80': 'deny', 'x/a y/c 80': 'deny', 'y/c y/c 80': 'allow' },
  ],
  [
    'a lower priority number comes first, whatever the order of the objects',
    [
      admin('z-second', 20, { ingress: [rule('Deny', [ALL], 'from')] }),
      admin('a-first', 10, { ingress: [rule('Accept', [appOf('b')], 'from')] }),
    ],
    { 'x/b x/a 80': 'allow', 'y/c x/a 80': 'deny' },
  ],
  [
    'equal priorities go by name',
    [
      admin('b', 5, { ingress: [rule('Deny', [ALL], 'from')] }),
      admin('a', 5, { ingress: [rule('Accept', [ALL], 'from')] }),
    ],
    { 'x/b x/a 80': 'allow' },
  ],
  [
    'a rule comes before those below it',
    [
      admin('o', 5, {
        ingress: [
          rule('Deny', [appOf('b')], 'from', { protocols: [tcp(80)] }),
          rule('Accept', [ALL], 'from'),
          rule('Deny', [ALL], 'from'),
        ],
      }),
    ],
    { 'x/b x/a 80': 'deny', 'x/b x/a 81': 'allow', 'x/b x/a 80 UDP': 'allow', 'y/c x/a 80': 'allow' },
  ],
  [
    'Baseline decides only where no NetworkPolicy isolates the pod in that direction',
    [
      baseline('b', 1, { ingress: [rule('Deny', [ALL], 'from')], egress: [rule('Deny', [ALL], 'to')] }),
      policy('x/in', {
        podSelector: { matchLabels: { app: 'a' } },
        ingress: [{ from: [{ namespaceSelector: {} }] }],
      }),
      policy('y/out', { podSelector: {}, policyTypes: ['Egress'], egress: [{}] }),
    ],
    { 'y/c x/a 80': 'allow', 'y/c x/b 80': 'deny', 'x/b x/a 80': 'deny' },
  ],
  [
    'Baseline: Pass leaves the default, which allows',
    [baseline('b', 1, { ingress: [rule('Pass', [inY], 'from'), rule('Deny', [ALL], 'from')] })],
    { 'y/c x/a 80': 'allow', 'x/b x/a 80': 'deny' },
  ],
  [
    'the subject may be pods of namespaces',
    [admin('s', 1, { subject: appOf('a'), ingress: [rule('Deny', [ALL], 'from')] })],
    { 'y/c x/a 80': 'deny', 'y/c x/b 80': 'allow' },
  ],
  [
    'networks match pods and others alike; IPv4 and IPv6 apart',
    [
      admin('n', 1, {
        subject: inX,
        egress: [rule('Deny', [{ networks: ['10.0.1.0/24', 'fd00::/8'] }], 'to')],
      }),
    ],
    {
      'x/a y/c 80': 'deny',
      'x/a ip:10.0.1.200 80': 'deny',
      'x/a ip:10.0.2.1 80': 'allow',
      'x/a ip:fd99::1 80': 'deny',
      'x/a x/b 80': 'allow',
    },
  ],
  [
    'nodes are the addresses in their status, not the pods on them',
    [admin('n', 1, { egress: [rule('Deny', [{ nodes: { matchLabels: { role: 'cp' } } }], 'to')] })],
    {
      'x/a ip:192.168.0.1 6443': 'deny',
      'x/a ip:192.168.0.2 6443': 'allow',
      'x/a y/host 80': 'deny',
      'x/a y/c 80': 'allow',
      'x/a ip:8.8.8.8 80': 'allow',
    },
  ],
  [
    'no rule is about pods in the network of their node, and none selects them',
    [admin('n', 1, { ingress: [rule('Deny', [ALL], 'from')], egress: [rule('Deny', [ALL], 'to')] })],
    { 'y/host x/a 80': 'allow', 'x/a y/host 80': 'allow', 'y/host ip:8.8.8.8 80': 'allow' },
  ],
  [
    'domain names match by the DNS answers, case apart; *. is one label or more',
    [
      admin('d', 1, {
        subject: inX,
        egress: [
          rule('Accept', [{ domainNames: ['*.example.com', 'other.org.'] }], 'to'),
          rule('Deny', [{ networks: ['0.0.0.0/0'] }], 'to'),
        ],
      }),
    ],
    {
      'x/a fqdn:api.example.com 443': 'allow',
      'x/a fqdn:deep.api.example.com 443': 'allow',
      'x/a fqdn:example.com 443': 'deny',
      'x/a fqdn:Other.org 443': 'allow',
      'x/a ip:1.1.1.1 443': 'allow',
      'x/a ip:3.3.3.3 443': 'deny',
      'x/a fqdn:never.asked 443': 'deny',
      'x/a y/c 80': 'deny',
    },
  ],
  [
    'destinationNamedPort is the port of that name at the destination, of any protocol',
    [
      admin('n', 1, {
        ingress: [
          rule('Deny', [ALL], 'from', {
            protocols: [{ destinationNamedPort: 'http' }, { destinationNamedPort: 'dns' }],
          }),
        ],
      }),
    ],
    {
      'x/b x/a 8080': 'deny',
      'x/b x/a 53 UDP': 'deny',
      'x/b x/a 53': 'allow',
      'x/b x/a 80': 'allow',
      'x/b y/c 80': 'deny',
      'x/b y/c 8080': 'allow',
    },
  ],
  [
    'destinationNamedPort of an egress rule is that of each destination',
    [
      admin('n', 1, {
        egress: [rule('Deny', [ALL], 'to', { protocols: [{ destinationNamedPort: 'http' }] })],
      }),
    ],
    { 'x/b x/a 8080': 'deny', 'x/b y/c 80': 'deny', 'x/b y/c 8080': 'allow' },
  ],
  [
    'ranges of ports hold their ends',
    [
      admin('n', 1, {
        ingress: [
          rule('Deny', [ALL], 'from', {
            protocols: [{ sctp: { destinationPort: { range: { start: 10, end: 20 } } } }],
          }),
        ],
      }),
    ],
    {
      'x/b x/a 10 SCTP': 'deny',
      'x/b x/a 20 SCTP': 'deny',
      'x/b x/a 21 SCTP': 'allow',
      'x/b x/a 10': 'allow',
    },
  ],
  [
    'a pod may call itself',
    [
      admin('n', 1, {
        ingress: [rule('Deny', [ALL], 'from')],
        egress: [rule('Deny', [{ networks: ['0.0.0.0/0'] }], 'to')],
      }),
    ],
    { 'x/a x/a 80': 'allow', 'x/a ip:10.0.0.1 80': 'allow' },
  ],
  [
    'AdminNetworkPolicy and BaselineAdminNetworkPolicy are the same tiers',
    [
      clusterPolicy(
        'anp',
        {
          priority: 3,
          subject: inX,
          ingress: [
            { action: 'Allow', from: [inY], ports: [{ portNumber: { port: 80 } }] },
            { action: 'Pass', from: [inY], ports: [{ portRange: { protocol: 'UDP', start: 50, end: 60 } }] },
            { action: 'Deny', from: [inY], ports: [{ namedPort: 'http' }] },
          ],
        },
        'AdminNetworkPolicy',
      ),
      clusterPolicy(
        'default',
        { subject: inX, ingress: [{ action: 'Deny', from: [ALL] }] },
        'BaselineAdminNetworkPolicy',
      ),
    ],
    {
      'y/c x/a 80': 'allow',
      'y/c x/a 55 UDP': 'deny',
      'y/c x/a 8080': 'deny',
      'x/b x/a 1': 'deny',
      'x/a y/c 1': 'allow',
    },
  ],
];

function ask(
  manifests: readonly unknown[],
  probes: readonly string[],
): { verdicts: Verdict[]; refused: string[] } {
  const asked = probes.map((text) => {
    const [from, to, port, protocol = 'TCP'] = text.split(' ');
    return { from, to, port: Number(port), protocol };
  });
  return answerLine(JSON.stringify({ manifests, probes: asked, dns: DNS })) as {
    verdicts: Verdict[];
    refused: string[];
  };
}

for (const [name, manifests, expected] of CASES) {
  t.test(`cluster policies: ${name}`, (t) => {
    const probes = Object.keys(expected);
    const { verdicts, refused } = ask([...manifests, ...WORLD], probes);
    t.strictSame(refused, []);
    t.strictSame(Object.fromEntries(probes.map((probe, i) => [probe, verdicts[i]])), expected);
    t.end();
  });
}

const good = { tier: 'Admin', priority: 1, subject: ALL };
const withIngress = (one: Fields): Fields => ({ ...good, ingress: [one] });
const withEgress = (one: Fields): Fields => ({ ...good, egress: [one] });
const REFUSED: readonly (readonly [string, Fields, RegExp])[] = [
  ['no tier', { ...good, tier: undefined }, /spec\.tier must be one of/],
  ['an unknown tier', { ...good, tier: 'admin' }, /spec\.tier/],
  ['no priority', { ...good, priority: undefined }, /spec\.priority/],
  ['a priority over 1000', { ...good, priority: 1001 }, /spec\.priority/],
  [
    'a subject of both',
    { ...good, subject: { ...ALL, ...appOf('a') } },
    /spec\.subject must have exactly one/,
  ],
  ['a subject of nothing', { ...good, subject: {} }, /spec\.subject/],
  [
    'pods without podSelector',
    { ...good, subject: { pods: { namespaceSelector: {} } } },
    /podSelector must be given/,
  ],
  [
    'an unknown action',
    withIngress(rule('Allow', [ALL], 'from')),
    /action must be one of Accept, Deny, Pass/,
  ],
  ['a rule without peers', withIngress({ action: 'Deny' }), /from must have at least one/],
  ['no peers in the list', withIngress(rule('Deny', [], 'from')), /from must have at least one/],
  ['a peer of nothing', withIngress(rule('Deny', [{}], 'from')), /from\[0\] must have exactly one/],
  [
    'networks in ingress',
    withIngress(rule('Deny', [{ networks: ['10.0.0.0/8'] }], 'from')),
    /from\[0\] must have exactly one/,
  ],
  [
    'a network that is none',
    withEgress(rule('Deny', [{ networks: ['10.0.0.0'] }], 'to')),
    /networks\[0\] must be a CIDR/,
  ],
  [
    'a network with leading zeros',
    withEgress(rule('Deny', [{ networks: ['10.0.0.010/32'] }], 'to')),
    /networks\[0\]/,
  ],
  ['no networks', withEgress(rule('Deny', [{ networks: [] }], 'to')), /networks must have 1 to 25/],
  ['a network twice', withEgress(rule('Deny', [{ networks: ['::/0', '::/0'] }], 'to')), /twice/],
  [
    'a wildcard inside a name',
    withEgress(rule('Accept', [{ domainNames: ['a.*.com'] }], 'to')),
    /domainNames\[0\]/,
  ],
  [
    'a name of one label',
    withEgress(rule('Accept', [{ domainNames: ['localhost'] }], 'to')),
    /domainNames\[0\]/,
  ],
  [
    'empty protocols',
    withIngress(rule('Deny', [ALL], 'from', { protocols: [] })),
    /protocols must have at least one/,
  ],
  [
    'tcp of nothing',
    withIngress(rule('Deny', [ALL], 'from', { protocols: [{ tcp: {} }] })),
    /tcp must have a destinationPort/,
  ],
  [
    'two protocols in one entry',
    withIngress(rule('Deny', [ALL], 'from', { protocols: [{ ...tcp(1), destinationNamedPort: 'a' }] })),
    /exactly one/,
  ],
  ['port 0', withIngress(rule('Deny', [ALL], 'from', { protocols: [tcp(0)] })), /between 1 and 65535/],
  [
    'a range of one port',
    withIngress(
      rule('Deny', [ALL], 'from', {
        protocols: [{ udp: { destinationPort: { range: { start: 5, end: 5 } } } }],
      }),
    ),
    /less than its end/,
  ],
  [
    'a named port next to networks',
    withEgress(rule('Deny', [{ networks: ['::/0'] }], 'to', { protocols: [{ destinationNamedPort: 'a' }] })),
    /may not name a port/,
  ],
  [
    '26 rules',
    { ...good, ingress: Array.from({ length: 26 }, () => rule('Deny', [ALL], 'from')) },
    /may have 25 rules/,
  ],
];

for (const [what, spec, reason] of REFUSED) {
  t.test(`cluster policies: refuses ${what}`, (t) => {
    const { refused } = ask([clusterPolicy('p', spec)], []);
    t.equal(refused.length, 1);
    t.match(refused[0], /^ClusterNetworkPolicy \/p: /);
    t.match(refused[0], reason);
    t.end();
  });
}

t.test('cluster policies: there is one BaselineAdminNetworkPolicy, and it has no Pass', (t) => {
  const spec = { subject: ALL, ingress: [rule('Pass', [ALL], 'from')] };
  const { refused } = ask([clusterPolicy('other', spec, 'BaselineAdminNetworkPolicy')], []);
  t.match(refused, [
    /^BaselineAdminNetworkPolicy \/other: metadata\.name must be default.*action must be one of Allow, Deny/,
  ]);
  t.end();
});
