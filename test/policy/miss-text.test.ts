import t from 'tap';
import { compilePolicy } from '../../src/policy/compile.ts';
import type { PolicyPeerFacts, PolicyQuery } from '../../src/policy/evaluate.ts';
import { policyOf } from './world.ts';

const proven: PolicyPeerFacts = {
  kind: 'proven',
  address: '10.0.0.7',
  namespace: 'web',
  labels: { app: 'web' },
  namespaceLabels: { team: 'front' },
};
const address: PolicyPeerFacts = { kind: 'address', address: '192.0.2.1' };
const expr = (key: string, operator: string, values?: string[]) => ({
  matchExpressions: [{ key, operator, values }],
});
const anyNamespace = { namespaceSelector: {} };

const TABLE: readonly (readonly [string, object, Partial<PolicyQuery>, string])[] = [
  [
    'another value of a label',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'api' } } }] },
    {},
    'would match if the peer had app=api; it has app=web',
  ],
  [
    'a missing label',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { tier: 'db' } } }] },
    {},
    'would match if the peer had tier=db; it has no label tier',
  ],
  [
    'two labels',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'api', tier: 'db' } } }] },
    {},
    'would match if the peer had app=api and tier=db; it has app=web and no label tier',
  ],
  [
    'one of several values',
    { from: [{ ...anyNamespace, podSelector: expr('app', 'In', ['a', 'b', 'c', 'd', 'e', 'f']) }] },
    {},
    'would match if the peer had app=a or app=b or app=c or app=d or 2 more; it has app=web',
  ],
  [
    'a value that is not wanted',
    { from: [{ ...anyNamespace, podSelector: expr('app', 'NotIn', ['web', 'api']) }] },
    {},
    'would match if the peer had no app=web or app=api; it has app=web',
  ],
  [
    'a label that must be there',
    { from: [{ ...anyNamespace, podSelector: expr('tier', 'Exists') }] },
    {},
    'would match if the peer had a label tier; it has no label tier',
  ],
  [
    'a label that must not be there',
    { from: [{ ...anyNamespace, podSelector: expr('app', 'DoesNotExist') }] },
    {},
    'would match if the peer had no label app; it has app=web',
  ],
  [
    'a label of the namespace',
    { from: [{ namespaceSelector: { matchLabels: { team: 'back' } } }] },
    {},
    'would match if its namespace had team=back; namespace web has team=front',
  ],
  [
    "the policy's own namespace",
    { from: [{ podSelector: { matchLabels: { app: 'web' } } }] },
    {},
    'would match if the peer were in namespace shop; it is in namespace web',
  ],
  [
    'another port',
    { ports: [{ port: 443 }, { port: 8000, endPort: 8100 }, { protocol: 'UDP' }] },
    {},
    'would match if the port were TCP 443 or TCP 8000-8100 or any UDP port; it is TCP 80',
  ],
  [
    'a name that the pod does not have',
    { ports: [{ port: 'metrics' }] },
    {},
    'would match if the port were TCP metrics; it is TCP 80 and the destination names no port metrics',
  ],
  [
    'a label and a port',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: 443 }] },
    {},
    'would match if the peer had app=api and the port were TCP 443; it has app=web, it is TCP 80',
  ],
  [
    'another address',
    { from: [{ ipBlock: { cidr: '172.16.0.0/12' } }] },
    {},
    "would match if the peer's address were in 172.16.0.0/12; it is 10.0.0.7",
  ],
  [
    'an excepted address',
    { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/24'] } }] },
    {},
    "would match if the peer's address were not excepted from 10.0.0.0/8; it is 10.0.0.7",
  ],
  [
    'an unproven pod',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'web' } } }] },
    { peer: { ...proven, kind: 'pod' } },
    'would match if the peer proved its identity; it proved none',
  ],
  [
    'a bare address',
    {
      from: [
        {
          namespaceSelector: { matchLabels: { team: 'back' } },
          podSelector: { matchLabels: { app: 'api' } },
        },
      ],
    },
    { peer: address },
    'would match if the peer proved to be a pod with app=api in a namespace with team=back; it is only known as the address 192.0.2.1',
  ],
  [
    'a label that is not printable, from a peer whose issuer let it pass',
    { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'api' } } }] },
    { peer: { ...proven, labels: { app: `a\nb\u001b[31m${'x'.repeat(100)}` } } },
    `would match if the peer had app=api; it has app=a?b?[31m${'x'.repeat(55)}...`,
  ],
];

for (const [what, rule, more, text] of TABLE) {
  t.test(`nearest miss: ${what}`, (t) => {
    const policies = [policyOf('shop', 'p', { podSelector: {}, ingress: [rule] })];
    const decision = compilePolicy({ policies, pod: { namespace: 'shop', labels: {} } }).evaluate({
      direction: 'inbound',
      peer: proven,
      protocol: 'TCP',
      port: 80,
      ...more,
    });
    t.equal(decision.allow || decision.nearestMiss?.text, text);
    t.end();
  });
}

t.test('nearest miss: outbound to a bare address says that it is no pod', (t) => {
  const policies = [
    policyOf('shop', 'p', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: { matchLabels: { app: 'db' } } }] }],
    }),
  ];
  const decision = compilePolicy({ policies, pod: { namespace: 'shop', labels: {} } }).evaluate({
    direction: 'outbound',
    peer: address,
    protocol: 'TCP',
    port: 80,
  });
  t.equal(
    decision.allow || decision.nearestMiss?.text,
    'would match if the peer were a pod with app=db in namespace shop; it is only known as the address 192.0.2.1',
  );
  t.end();
});

t.test('nearest miss: of several rules the one with the least in its way', (t) => {
  const label = { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'api' } } }] };
  const proof = { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'web' } } }] };
  const two = { from: [{ ...anyNamespace, podSelector: { matchLabels: { app: 'x', tier: 'y' } } }] };
  const namespace = { from: [{ namespaceSelector: { matchLabels: { team: 'back' } } }] };
  const port = { ports: [{ port: 443 }] };
  const block = { from: [{ ipBlock: { cidr: '172.16.0.0/12' } }] };
  for (const [rules, peer, nearest] of [
    [[two, label], proven, 2],
    [[namespace, label], proven, 2],
    [[block, two, namespace], proven, 3],
    [[two, port], proven, 2],
    [[label, port], proven, 1],
    [[label, { ...proof, ...port }, proof], { ...proven, kind: 'pod' }, 3],
    [[port, proof], { ...proven, kind: 'pod' }, 2],
    [[block, port], address, 2],
  ] as const) {
    const policies = [policyOf('shop', 'p', { podSelector: {}, ingress: rules })];
    const engine = compilePolicy({ policies, pod: { namespace: 'shop', labels: {} } });
    const decision = engine.evaluate({ direction: 'inbound', peer, protocol: 'TCP', port: 80 });
    t.equal(decision.allow || decision.nearestMiss?.rule, nearest, JSON.stringify(rules));
  }
  t.end();
});
