import type { IpAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { ClusterPeer, ClusterPolicy, ClusterPort, ClusterRule, PodSelection } from './cluster-model.ts';
import { domainNameMatches } from './domain-name.ts';
import type { Decision, NamedPort, PolicyQuery } from './evaluate.ts';
import { labelsCount, type Match } from './match.ts';
import type { Direction, Labels } from './model.ts';
import { type CompiledSelector, compileSelector, selectorMatches } from './selector.ts';

/** A cluster policy ready to be asked often. */
export interface CompiledClusterPolicy {
  readonly id: string;
  readonly tier: ClusterPolicy['tier'];
  readonly priority: number;
  readonly subject: CompiledSelection;
  readonly inbound: readonly CompiledClusterRule[];
  readonly outbound: readonly CompiledClusterRule[];
}

export interface CompiledClusterRule {
  readonly action: ClusterRule['action'];
  readonly peers: readonly CompiledClusterPeer[];
  readonly ports: readonly ClusterPort[] | undefined;
  /** What is answered when this rule decides; undefined for Pass. */
  readonly decision: Decision | undefined;
}

interface CompiledSelection {
  readonly namespaceSelector: CompiledSelector;
  readonly podSelector: CompiledSelector | undefined;
}

type CompiledClusterPeer =
  | ({ readonly kind: 'pods' } & CompiledSelection)
  | { readonly kind: 'nodes'; readonly selector: CompiledSelector }
  | { readonly kind: 'networks'; readonly cidrs: readonly Cidr[] }
  | { readonly kind: 'domains'; readonly names: readonly string[] };

/** Compiles one cluster policy, independent of any pod. */
export function compileClusterPolicy(policy: ClusterPolicy): CompiledClusterPolicy {
  const rules = (list: readonly ClusterRule[]): CompiledClusterRule[] =>
    list.map(({ action, peers, ports }, index) => ({
      action,
      peers: peers.map(compilePeer),
      ports,
      decision: decisionOf(action, policy.id, index + 1),
    }));
  return {
    id: policy.id,
    tier: policy.tier,
    priority: policy.priority,
    subject: compileSelection(policy.subject),
    inbound: rules(policy.ingress),
    outbound: rules(policy.egress),
  };
}

/** Whether a policy is about this pod. */
export function subjectMatches(
  { subject }: CompiledClusterPolicy,
  pod: { readonly namespace: string; readonly labels: Labels; readonly namespaceLabels?: Labels },
): boolean {
  return selectionMatches(subject, pod.labels, pod.namespaceLabels ?? {}, pod.namespace);
}

/**
 * Whether a rule is about this call. `unknown`: it would be if the peer proved to be somebody, or had an address, that cannot
 * be ruled out.
 */
export function matchClusterRule(
  rule: CompiledClusterRule,
  query: PolicyQuery,
  address: IpAddress | undefined,
  namedPorts: readonly NamedPort[] | undefined,
): Match {
  if (rule.ports !== undefined && !rule.ports.some((port) => portMatches(port, query, namedPorts)))
    return 'no';
  let match: Match = 'no';
  for (const peer of rule.peers) {
    const one = matchPeer(peer, query, query.direction, address);
    if (one === 'yes') return 'yes';
    if (one === 'unknown') match = 'unknown';
  }
  return match;
}

function decisionOf(action: ClusterRule['action'], policy: string, rule: number): Decision | undefined {
  if (action === 'Pass') return undefined;
  if (action === 'Accept') return { allow: true, isolated: true, policy, rule };
  return {
    allow: false,
    isolated: true,
    policies: [policy],
    nearestMiss: undefined,
    deniedBy: { policy, rule },
  };
}

function compilePeer(peer: ClusterPeer): CompiledClusterPeer {
  switch (peer.kind) {
    case 'pods':
      return { kind: 'pods', ...compileSelection(peer) };
    case 'nodes':
      return { kind: 'nodes', selector: compileSelector(peer.selector) };
    case 'networks':
      return { kind: 'networks', cidrs: peer.cidrs.map(parseCidr).filter((one) => one !== undefined) };
    case 'domains':
      return { kind: 'domains', names: peer.names };
  }
}

function compileSelection({ namespaceSelector, podSelector }: PodSelection): CompiledSelection {
  return {
    namespaceSelector: compileSelector(namespaceSelector),
    podSelector: podSelector === undefined ? undefined : compileSelector(podSelector),
  };
}

function selectionMatches(
  { namespaceSelector, podSelector }: CompiledSelection,
  labels: Labels,
  namespaceLabels: Labels,
  namespace: string,
): boolean {
  return (
    selectorMatches(namespaceSelector, namespaceLabels, namespace) &&
    (podSelector === undefined || selectorMatches(podSelector, labels))
  );
}

function matchPeer(
  wanted: CompiledClusterPeer,
  { peer, names }: PolicyQuery,
  direction: Direction,
  address: IpAddress | undefined,
): Match {
  switch (wanted.kind) {
    case 'pods':
      if (peer.kind === 'address') return peer.outside === true ? 'no' : 'unknown';
      if (!labelsCount(direction, peer)) return 'unknown';
      return selectionMatches(wanted, peer.labels, peer.namespaceLabels, peer.namespace) ? 'yes' : 'no';
    case 'nodes':
      if (peer.kind !== 'address') return 'no';
      if (peer.nodeLabels !== undefined)
        return selectorMatches(wanted.selector, peer.nodeLabels) ? 'yes' : 'no';
      return peer.outside === true ? 'no' : 'unknown';
    case 'networks':
      if (address === undefined) return 'unknown';
      return wanted.cidrs.some((cidr) => cidrContains(cidr, address)) ? 'yes' : 'no';
    case 'domains':
      return names?.some((name) => wanted.names.some((pattern) => domainNameMatches(pattern, name))) === true
        ? 'yes'
        : 'no';
  }
}

function portMatches(
  wanted: ClusterPort,
  { protocol, port }: PolicyQuery,
  namedPorts: readonly NamedPort[] | undefined,
): boolean {
  if (!('name' in wanted)) return wanted.protocol === protocol && wanted.first <= port && port <= wanted.last;
  return (
    namedPorts?.some((one) => one.name === wanted.name && one.port === port && one.protocol === protocol) ===
    true
  );
}
