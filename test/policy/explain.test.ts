import fc from 'fast-check';
import t from 'tap';
import { applyChange } from '../../src/policy/changes.ts';
import { explain } from '../../src/policy/explain.ts';
import { judge, type PodParty, type Question } from '../../src/policy/judge.ts';
import * as any from './arbitraries.ts';
import { oracleAllows } from './oracle.ts';
import { policyOf } from './world.ts';

const party = (
  namespace: string,
  name: string,
  labels: Record<string, string>,
  address?: string,
): PodParty => ({
  kind: 'pod',
  namespace,
  name,
  labels,
  namespaceLabels: { team: namespace },
  addresses: address === undefined ? [] : [address],
  namedPorts: [{ name: 'pg', port: 5432, protocol: 'TCP' }],
});
const db = party('shop', 'db-0', { app: 'db' }, '10.0.0.1');
const web = party('shop', 'web-0', { app: 'web' }, '10.0.0.2');
const dbAllow = policyOf('shop', 'db-allow', {
  podSelector: { matchLabels: { app: 'db' } },
  ingress: [
    { from: [{ namespaceSelector: { matchLabels: { team: 'ops' } } }] },
    { from: [{ podSelector: { matchLabels: { app: 'api' } } }], ports: [{ port: 'pg' }] },
  ],
});
const webDeny = policyOf('shop', 'web-deny', {
  podSelector: { matchLabels: { app: 'web' } },
  policyTypes: ['Egress'],
});
const ask = (more: Partial<Question>): Question => ({
  policies: [dbAllow],
  from: web,
  to: db,
  protocol: 'TCP',
  port: 5432,
  ...more,
});

t.test('explain: an allow names the policy and the rule on the side that is isolated', (t) => {
  const answer = explain(ask({ from: { ...web, labels: { app: 'api' } } }));
  t.strictSame(answer, {
    verdict: 'allow',
    self: false,
    egress: { kind: 'not-isolated' },
    ingress: {
      kind: 'allowed',
      policies: ['networkpolicy/shop/db-allow'],
      policy: 'networkpolicy/shop/db-allow',
      rule: 2,
      addressUnknown: false,
    },
    changes: [],
  });
  t.end();
});

t.test(
  'explain: a denial tells the nearest miss, and proposes a rule before a label that would change what a pod is',
  (t) => {
    const { ingress, changes } = explain(ask({}));
    t.match(ingress, {
      kind: 'denied',
      nearestMiss: {
        rule: 2,
        policy: 'networkpolicy/shop/db-allow',
        text: 'would match if the peer had app=api; it has app=web',
      },
    });
    t.strictSame(changes, [
      {
        kind: 'add-rules',
        rules: [
          {
            policy: 'networkpolicy/shop/db-allow',
            direction: 'ingress',
            rule: {
              peers: [
                {
                  kind: 'pods',
                  podSelector: { matchLabels: { app: 'web' }, matchExpressions: [] },
                  namespaceSelector: undefined,
                },
              ],
              ports: [{ protocol: 'TCP', port: 5432, endPort: undefined }],
            },
          },
        ],
      },
      { kind: 'label-pod', end: 'from', pod: 'shop/web-0', labels: { app: 'api' } },
    ]);
    t.end();
  },
);

t.test('explain: where both sides deny, one change adds a rule on both', (t) => {
  const { egress, changes } = explain(ask({ policies: [dbAllow, webDeny] }));
  t.match(egress, { kind: 'denied', policies: ['networkpolicy/shop/web-deny'] });
  const added = changes.find((one) => one.kind === 'add-rules')!;
  t.strictSame(
    added.rules.map(({ policy, direction }) => [policy, direction]),
    [
      ['networkpolicy/shop/web-deny', 'egress'],
      ['networkpolicy/shop/db-allow', 'ingress'],
    ],
  );
  t.end();
});

t.test('explain: a call to itself asks no policy', (t) => {
  const answer = explain(ask({ from: db }));
  t.match(answer, { verdict: 'allow', self: true, ingress: { kind: 'not-asked' } });
  t.end();
});

t.test('explain: a pod without an address is in no block, and the answer says so', (t) => {
  const policies = [
    policyOf('shop', 'p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
  ];
  t.match(explain(ask({ policies })), { verdict: 'allow', ingress: { addressUnknown: false } });
  const template = party('shop', 'deploy/web', { app: 'web' });
  t.match(explain(ask({ policies, from: template })), { verdict: 'deny', ingress: { addressUnknown: true } });
  t.end();
});

t.test('explain: a call is judged by addresses of one family', (t) => {
  const policies = [
    policyOf('shop', 'p', { podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 'fd00::/16' } }] }] }),
  ];
  const from = { ...web, addresses: ['10.0.0.2', 'fd00::2'] };
  t.equal(explain(ask({ policies, from })).verdict, 'deny');
  t.equal(explain(ask({ policies, from, to: { ...db, addresses: ['fd00::1'] } })).verdict, 'allow');
  t.end();
});

t.test('explain: an address from outside is judged by blocks, and gets a rule of its own', (t) => {
  const question = ask({ from: { kind: 'address', address: '192.0.2.1' } });
  const { verdict, egress, changes } = explain(question);
  t.equal(verdict, 'deny');
  t.strictSame(egress, { kind: 'not-asked' });
  t.match(changes, [{ rules: [{ rule: { peers: [{ kind: 'block', cidr: '192.0.2.1/32' }] } }] }]);
  t.end();
});

const pod = fc
  .tuple(
    any.pod,
    any.labels,
    fc.constantFrom('10.0.0.1', '10.1.0.3', '192.0.2.1', 'fd00::1'),
    fc.constantFrom('p', 'q'),
  )
  .map(([pod, namespaceLabels, address, name]): PodParty => ({
    kind: 'pod',
    namespace: pod.namespace,
    name,
    labels: pod.labels,
    namespaceLabels,
    addresses: [address],
    namedPorts: pod.namedPorts ?? [],
  }));
const question = fc.record({
  policies: any.policies,
  from: pod,
  to: pod,
  protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
  port: fc.constantFrom(80, 443, 8080),
});

t.test('explain: the verdict is that of the wording of the API on both sides', (t) => {
  let denied = 0;
  fc.assert(
    fc.property(question, (question) => {
      const { policies, from, to, protocol, port } = question;
      const { verdict, self } = explain(question);
      if (self) return verdict === 'allow';
      const facts = (party: PodParty) => ({
        ...party,
        kind: 'proven' as const,
        address: party.addresses[0]!,
      });
      const { namedPorts } = to;
      const expected =
        oracleAllows(policies, from, {
          direction: 'outbound',
          peer: facts(to),
          protocol,
          port,
          namedPorts,
        }) && oracleAllows(policies, to, { direction: 'inbound', peer: facts(from), protocol, port });
      if (!expected) denied++;
      return (verdict === 'allow') === expected;
    }),
    { numRuns: 3000 },
  );
  t.ok(denied > 300, `meets denials (${denied})`);
  t.end();
});

t.test('explain: every change it proposes, made alone, flips the verdict', (t) => {
  const proposed: Record<string, number> = { 'label-pod': 0, 'label-namespace': 0, 'add-rules': 0 };
  fc.assert(
    fc.property(question, (question) => {
      const { verdict, changes } = explain(question);
      for (const change of changes) proposed[change.kind]!++;
      return (
        (verdict === 'deny' || changes.length === 0) &&
        changes.every((change) => judge(applyChange(question, change)).verdict === 'allow')
      );
    }),
    { numRuns: 3000 },
  );
  for (const [kind, count] of Object.entries(proposed)) t.ok(count > 3, `proposes ${kind} (${count})`);
  t.end();
});
