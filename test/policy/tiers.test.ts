import fc from 'fast-check';
import t from 'tap';
import type { ClusterPeer, ClusterPolicy, ClusterPort } from '../../src/policy/cluster-model.ts';
import { type PolicyPod, PolicySet } from '../../src/policy/compile.ts';
import type { PolicyPeerFacts, PolicyQuery } from '../../src/policy/evaluate.ts';
import type { Labels, LabelSelector, NetworkPolicy } from '../../src/policy/model.ts';
import { runs } from '../support/effort.ts';
import * as any from './arbitraries.ts';
import { oracleAllows } from './oracle.ts';

// Mostly wide, so that rules meet the queries.
const wide: fc.Arbitrary<LabelSelector> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ matchLabels: {}, matchExpressions: [] }) },
  { weight: 2, arbitrary: any.selector },
);
const selection = { namespaceSelector: wide, podSelector: fc.option(wide, { nil: undefined }) };
const inboundPeer: fc.Arbitrary<ClusterPeer> = fc.record({
  kind: fc.constant('pods' as const),
  ...selection,
});
const outboundPeer: fc.Arbitrary<ClusterPeer> = fc.oneof(
  inboundPeer,
  fc.record({ kind: fc.constant('nodes' as const), selector: any.selector }),
  fc.record({
    kind: fc.constant('networks' as const),
    cidrs: fc.subarray(['10.0.0.0/16', '192.0.2.0/24', '0.0.0.0/0', 'fd00::/8'], { minLength: 1 }),
  }),
  fc.record({
    kind: fc.constant('domains' as const),
    names: fc.constantFrom(['*.example.com'], ['example.com']),
  }),
);
const port: fc.Arbitrary<ClusterPort> = fc.oneof(
  fc.record({
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
    first: fc.constant(80),
    last: fc.constantFrom(80, 100, 8080),
  }),
  fc.record({ name: fc.constantFrom('http', 'dns') }),
);
const ruleWith = (peer: fc.Arbitrary<ClusterPeer>) =>
  fc.record({
    name: fc.constant(''),
    action: fc.constantFrom('Accept', 'Deny', 'Pass'),
    peers: fc.array(peer, { minLength: 1, maxLength: 2 }),
    ports: fc.option(fc.array(port, { minLength: 1, maxLength: 2 }), { nil: undefined, freq: 1 }),
  });
const clusterPolicies: fc.Arbitrary<ClusterPolicy[]> = fc.uniqueArray(
  fc.record({
    id: fc.constantFrom('clusternetworkpolicy/a', 'clusternetworkpolicy/b', 'clusternetworkpolicy/c'),
    tier: fc.constantFrom('Admin', 'Baseline'),
    priority: fc.constantFrom(1, 2, 3),
    subject: fc.record(selection),
    ingress: fc.array(ruleWith(inboundPeer), { maxLength: 3 }),
    egress: fc.array(ruleWith(outboundPeer), { maxLength: 3 }),
  }),
  { maxLength: 3, selector: (one) => one.id },
);
const outside: fc.Arbitrary<PolicyPeerFacts> = fc.record(
  {
    kind: fc.constant('address' as const),
    address: fc.constantFrom('10.0.0.1', '192.0.2.1', 'fd00::1'),
    outside: fc.constant(true),
    nodeLabels: any.labels,
  },
  { requiredKeys: ['kind', 'address', 'outside'] },
);
const query = (peer: fc.Arbitrary<PolicyPeerFacts>): fc.Arbitrary<PolicyQuery> =>
  fc
    .tuple(any.query, peer, fc.constantFrom([], ['example.com'], ['www.example.com']))
    .map(([one, peer, names]) => ({ ...one, peer, names }));
const withAddress = any.podFacts('proven').filter((one) => one.address !== '');
type OwnPod = PolicyPod & { namespaceLabels: Labels };
const pods: fc.Arbitrary<OwnPod> = fc
  .tuple(any.pod, any.labels)
  .map(([pod, namespaceLabels]) => ({ ...pod, namespaceLabels }));

t.test('tiers: agree with the wording of the API on generated policies and queries', (t) => {
  let decided = 0;
  const check = fc.property(
    clusterPolicies,
    any.policies,
    pods,
    query(fc.oneof(withAddress, outside)),
    (cluster, policies, pod, query) => {
      const { allow } = new PolicySet(policies, undefined, cluster).forPod(pod).evaluate(query);
      const expected = oracle(cluster, policies, pod, query);
      if (expected !== oracleAllows(policies, pod, query)) decided++;
      return allow === expected;
    },
  );
  fc.assert(check, { numRuns: runs(6000) });
  t.ok(decided > 200, `meets cluster policies that change the verdict (${decided})`);
  t.end();
});

t.test('tiers: proving oneself never narrows access, whatever cluster policies deny or pass', (t) => {
  let widened = 0;
  const check = fc.property(
    clusterPolicies,
    any.policies,
    pods,
    query(withAddress),
    (cluster, policies, pod, query) => {
      const engine = new PolicySet(policies, undefined, cluster).forPod(pod);
      const ask = (peer: PolicyPeerFacts): boolean => engine.evaluate({ ...query, peer }).allow;
      const proven = ask(query.peer);
      const known = ask({ ...query.peer, kind: 'pod' } as PolicyPeerFacts);
      const bare = ask({ kind: 'address', address: query.peer.address });
      if (proven && !bare) widened++;
      return (!bare || known) && (!known || proven);
    },
  );
  fc.assert(check, { numRuns: runs(6000) });
  t.ok(widened > 100, `meets peers whom proof helps (${widened})`);
  t.end();
});

t.test('tiers: the order of the objects never matters', (t) => {
  const check = fc.property(clusterPolicies, pods, query(withAddress), (cluster, pod, query) => {
    const ask = (list: ClusterPolicy[]): boolean =>
      new PolicySet([], undefined, list).forPod(pod).evaluate(query).allow;
    return ask(cluster) === ask(cluster.toReversed());
  });
  fc.assert(check, { numRuns: runs(2000) });
  t.end();
});

/** As the API reference words it, for a peer that is known for what it is; nothing in common with the engine but the model. */
function oracle(
  cluster: ClusterPolicy[],
  policies: NetworkPolicy[],
  pod: OwnPod,
  query: PolicyQuery,
): boolean {
  const side = query.direction === 'inbound' ? 'ingress' : 'egress';
  const decide = (tier: string): string | undefined => {
    const selecting = cluster
      .filter(
        (one) => one.tier === tier && selected(one.subject, pod.labels, pod.namespaceLabels, pod.namespace),
      )
      .sort((a, b) => a.priority - b.priority || a.id.localeCompare(b.id));
    for (const one of selecting) {
      for (const rule of one[side]) {
        if (rule.peers.some((peer) => isPeer(peer, query)) && onPort(rule.ports, pod, query))
          return rule.action;
      }
    }
    return undefined;
  };
  const first = decide('Admin');
  if (first === 'Accept' || first === 'Deny') return first === 'Accept';
  const type = side === 'ingress' ? 'Ingress' : 'Egress';
  const isolated = policies.some(
    (one) =>
      one.namespace === pod.namespace && one.policyTypes.includes(type) && holds(one.podSelector, pod.labels),
  );
  if (isolated) return oracleAllows(policies, pod, query);
  return decide('Baseline') !== 'Deny';
}

function isPeer(wanted: ClusterPeer, { peer, names }: PolicyQuery): boolean {
  if (wanted.kind === 'networks') {
    const v6 = peer.address.includes(':');
    return wanted.cidrs.some((cidr) => {
      if (cidr.includes(':')) return v6;
      if (v6) return false;
      return cidr === '0.0.0.0/0' || peer.address.startsWith(cidr === '10.0.0.0/16' ? '10.0.' : '192.0.2.');
    });
  }
  if (wanted.kind === 'domains')
    return names!.some((name) =>
      wanted.names[0]!.startsWith('*') ? name.endsWith('.example.com') : name === 'example.com',
    );
  if (wanted.kind === 'nodes')
    return (
      peer.kind === 'address' && peer.nodeLabels !== undefined && holds(wanted.selector, peer.nodeLabels)
    );
  return peer.kind !== 'address' && selected(wanted, peer.labels, peer.namespaceLabels, peer.namespace);
}

function onPort(ports: readonly ClusterPort[] | undefined, pod: OwnPod, query: PolicyQuery): boolean {
  const named = (query.direction === 'inbound' ? pod.namedPorts : query.namedPorts) ?? [];
  return (
    ports === undefined ||
    ports.some((one) =>
      'name' in one
        ? named.some(
            (has) => has.name === one.name && has.port === query.port && has.protocol === query.protocol,
          )
        : one.protocol === query.protocol && query.port >= one.first && query.port <= one.last,
    )
  );
}

function selected(
  {
    namespaceSelector,
    podSelector,
  }: { namespaceSelector: LabelSelector; podSelector: LabelSelector | undefined },
  labels: Labels,
  namespaceLabels: Labels,
  namespace: string,
): boolean {
  const all = { ...namespaceLabels, 'kubernetes.io/metadata.name': namespace };
  return holds(namespaceSelector, all) && (podSelector === undefined || holds(podSelector, labels));
}

function holds({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  const value = (key: string): string | undefined => Object.entries(labels).find(([one]) => one === key)?.[1];
  return (
    Object.entries(matchLabels).every(([key, wanted]) => value(key) === wanted) &&
    matchExpressions.every(({ key, operator, values }) => {
      const has = value(key);
      if (operator === 'Exists') return has !== undefined;
      if (operator === 'DoesNotExist') return has === undefined;
      return (has !== undefined && values.includes(has)) === (operator === 'In');
    })
  );
}
