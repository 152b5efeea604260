import fc from 'fast-check';
import type { PolicyPod } from '../../src/policy/compile.ts';
import type { PolicyPeerFacts, PolicyQuery } from '../../src/policy/evaluate.ts';
import type {
  LabelRequirement,
  LabelSelector,
  NetworkPolicy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
} from '../../src/policy/model.ts';

// A small world, so that things meet often. `constructor` is a label key that every JavaScript object seems to have.
const namespace = fc.constantFrom('shop', 'web', 'ops');
const key = fc.constantFrom('app', 'tier', 'constructor', 'kubernetes.io/metadata.name');
const value = fc.constantFrom('shop', 'web', 'api', '');
const port = fc.constantFrom(80, 81, 443, 8080);
const portName = fc.constantFrom('http', 'https', 'dns');
const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP');
const address = fc.constantFrom(
  '10.0.0.1',
  '10.0.1.2',
  '10.1.0.3',
  '192.0.2.1',
  'fd00::1',
  'fd00:0:0:1::2',
  '',
);

export const labels = fc.dictionary(key, value, { maxKeys: 3, noNullPrototype: true });

const requirement: fc.Arbitrary<LabelRequirement> = fc.oneof(
  fc.record({
    key,
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(value, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ key, operator: fc.constantFrom('Exists', 'DoesNotExist'), values: fc.constant([]) }),
);

export const selector: fc.Arbitrary<LabelSelector> = fc.record({
  matchLabels: fc.dictionary(key, value, { maxKeys: 2, noNullPrototype: true }),
  matchExpressions: fc.array(requirement, { maxLength: 2 }),
});

const pods: fc.Arbitrary<PolicyPeer> = fc
  .record({
    kind: fc.constant('pods' as const),
    podSelector: fc.option(selector, { nil: undefined }),
    namespaceSelector: fc.option(selector, { nil: undefined }),
  })
  .filter((one) => one.podSelector !== undefined || one.namespaceSelector !== undefined);

const block: fc.Arbitrary<PolicyPeer> = fc
  .constantFrom<[string, string[]]>(
    ['0.0.0.0/0', ['10.0.0.0/16']],
    ['10.0.0.0/8', ['10.0.0.0/24', '10.1.0.0/16']],
    ['10.0.0.1/32', []],
    ['192.0.2.0/24', ['192.0.2.1/32']],
    ['::/0', ['fd00::/64']],
    ['fd00::/32', ['fd00::/48']],
    ['fd00:0:0:1::/64', []],
  )
  .chain(([cidr, holes]) =>
    fc.record({ kind: fc.constant('block' as const), cidr: fc.constant(cidr), except: fc.subarray(holes) }),
  );

const policyPort: fc.Arbitrary<PolicyPort> = fc.oneof(
  fc.record({ protocol, port: fc.constant(undefined), endPort: fc.constant(undefined) }),
  fc.record({ protocol, port: portName, endPort: fc.constant(undefined) }),
  fc
    .tuple(protocol, port, fc.option(fc.constantFrom(0, 1, 370), { nil: undefined }))
    .map(([protocol, port, more]) => ({
      protocol,
      port,
      endPort: more === undefined ? undefined : port + more,
    })),
);

export const rule: fc.Arbitrary<PolicyRule> = fc.record({
  peers: fc.option(
    fc.array(fc.oneof({ weight: 3, arbitrary: pods }, { weight: 1, arbitrary: block }), { maxLength: 3 }),
    { nil: undefined },
  ),
  ports: fc.option(fc.array(policyPort, { maxLength: 3 }), { nil: undefined }),
});

export const policy: fc.Arbitrary<NetworkPolicy> = fc.record({
  namespace: fc.constantFrom('shop', 'shop', 'shop', 'web'),
  name: fc.constantFrom('a', 'b', 'c', 'd'),
  podSelector: fc.oneof(fc.constant({ matchLabels: {}, matchExpressions: [] }), selector),
  policyTypes: fc.constantFrom<NetworkPolicy['policyTypes'][]>(
    ['Ingress'],
    ['Egress'],
    ['Ingress', 'Egress'],
  ) as fc.Arbitrary<NetworkPolicy['policyTypes']>,
  ingress: fc.array(rule, { maxLength: 3 }),
  egress: fc.array(rule, { maxLength: 3 }),
});

export const policies = fc.uniqueArray(policy, {
  maxLength: 6,
  selector: ({ namespace, name }) => `${namespace}/${name}`,
});

const namedPorts = fc.array(fc.record({ name: portName, port, protocol }), { maxLength: 4 });

export const pod: fc.Arbitrary<PolicyPod> = fc.record(
  { namespace: fc.constantFrom('shop', 'shop', 'web'), labels, namedPorts },
  { requiredKeys: ['namespace', 'labels'] },
);

export const podFacts = (kind: 'proven' | 'pod'): fc.Arbitrary<PolicyPeerFacts> =>
  fc.record({ kind: fc.constant(kind), address, namespace, labels, namespaceLabels: labels });

export const peerFacts: fc.Arbitrary<PolicyPeerFacts> = fc.oneof(
  podFacts('proven'),
  podFacts('pod'),
  fc.record({ kind: fc.constant('address' as const), address }),
);

export const query: fc.Arbitrary<PolicyQuery> = fc.record(
  { direction: fc.constantFrom('inbound', 'outbound'), peer: peerFacts, protocol, port, namedPorts },
  { requiredKeys: ['direction', 'peer', 'protocol', 'port'] },
);
