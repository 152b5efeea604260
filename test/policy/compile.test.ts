import t from 'tap';
import { compilePolicy, PolicySet } from '../../src/policy/compile.ts';
import { testEvaluateCompliance, testEvaluateVerdicts } from '../support/evaluate-compliance.ts';
import { oracleAllows } from './oracle.ts';
import { callAllowed, policyOf, WORLD } from './world.ts';

testEvaluateCompliance(t, 'policy engine', compilePolicy);

// The oracle of the differential test is held to the same cases; it does not say who decided.
testEvaluateVerdicts(t, 'policy oracle', ({ policies, pod }) => ({
  evaluate: (query) =>
    oracleAllows(policies, pod, query)
      ? { allow: true, isolated: false }
      : { allow: false, isolated: true, policies: [], nearestMiss: undefined },
}));

t.test('policy engine: IPv6 blocks hold IPv6 pod addresses', (t) => {
  const policies = [
    policyOf('x', 'p', {
      podSelector: { matchLabels: { pod: 'a' } },
      ingress: [{ from: [{ ipBlock: { cidr: 'fd00::/16', except: ['fd00:0:0:1::/64'] } }] }],
    }),
  ];
  const set = new PolicySet(policies);
  const engines = new Map(WORLD.map((pod) => [pod.id, set.forPod(pod)]));
  const to = WORLD.find((pod) => pod.id === 'x/a')!;
  const callers = WORLD.filter((from) => callAllowed(engines, from, to, 'TCP', 80, 6)).map((from) => from.id);
  t.strictSame(callers, ['x/a', 'x/b', 'x/c', 'z/a', 'z/b', 'z/c']);
  t.end();
});

t.test('policy engine: a port name that a pod gives twice opens both ports', (t) => {
  const policies = [policyOf('shop', 'p', { podSelector: {}, ingress: [{ ports: [{ port: 'web' }] }] })];
  const namedPorts = [80, 8080].map((port) => ({ name: 'web', port, protocol: 'TCP' as const }));
  const engine = compilePolicy({ policies, pod: { namespace: 'shop', labels: {}, namedPorts } });
  const open = [79, 80, 81, 8080].filter(
    (port) =>
      engine.evaluate({
        direction: 'inbound',
        peer: { kind: 'address', address: '192.0.2.1' },
        protocol: 'TCP',
        port,
      }).allow,
  );
  t.strictSame(open, [80, 8080]);
  t.end();
});

t.test('policy engine: a named port means nothing where the destination is no pod', (t) => {
  const policies = [
    policyOf('shop', 'p', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 'web' }] }],
    }),
  ];
  // The own pod's names are not the destination's.
  const namedPorts = [{ name: 'web', port: 80, protocol: 'TCP' as const }];
  const engine = compilePolicy({ policies, pod: { namespace: 'shop', labels: {}, namedPorts } });
  const query = {
    direction: 'outbound',
    peer: { kind: 'address', address: '192.0.2.1' },
    protocol: 'TCP',
    port: 80,
  } as const;
  t.notOk(engine.evaluate(query).allow);
  t.ok(engine.evaluate({ ...query, namedPorts }).allow);
  t.end();
});

t.test('policy engine: a block or selector that slipped past decoding matches nobody', (t) => {
  const base = policyOf('shop', 'p', { podSelector: {}, ingress: [] });
  for (const peer of [
    { kind: 'block', cidr: 'nonsense', except: [] },
    { kind: 'block', cidr: '0.0.0.0/0', except: ['nonsense'] },
    { kind: 'pods', podSelector: undefined, namespaceSelector: undefined },
  ] as const) {
    const policies = [{ ...base, ingress: [{ peers: [peer], ports: undefined }] }];
    const decision = compilePolicy({ policies, pod: { namespace: 'shop', labels: {} } }).evaluate({
      direction: 'inbound',
      peer: { kind: 'proven', address: '10.0.0.1', namespace: 'shop', labels: {}, namespaceLabels: {} },
      protocol: 'TCP',
      port: 80,
    });
    t.notOk(decision.allow, JSON.stringify(peer));
    t.equal(decision.allow || decision.nearestMiss, undefined);
  }
  t.end();
});
