import type { NamedPort, PolicyPeerFacts, PolicyQuery } from '../../src/policy/evaluate.ts';
import type {
  Labels,
  LabelSelector,
  NetworkPolicy,
  PolicyPeer,
  PolicyPort,
  PolicyRule,
} from '../../src/policy/model.ts';

/**
 * The verdict as the wording of the API reference gives it, as plainly as it can be written: no index, no compiled form, and
 * nothing in common with the engine but the model. Slow on purpose.
 */
export function oracleAllows(
  policies: readonly NetworkPolicy[],
  pod: { readonly namespace: string; readonly labels: Labels; readonly namedPorts?: readonly NamedPort[] },
  query: PolicyQuery,
): boolean {
  const type = query.direction === 'inbound' ? 'Ingress' : 'Egress';
  const applying = policies.filter(
    (policy) =>
      policy.namespace === pod.namespace &&
      policy.policyTypes.includes(type) &&
      selects(policy.podSelector, pod.labels),
  );
  if (applying.length === 0) return true;
  return applying.some((policy) =>
    (query.direction === 'inbound' ? policy.ingress : policy.egress).some(
      (rule) =>
        peersAllow(rule, policy.namespace, query) &&
        portsAllow(rule, query, query.direction === 'inbound' ? pod.namedPorts : query.namedPorts),
    ),
  );
}

function peersAllow(rule: PolicyRule, namespace: string, query: PolicyQuery): boolean {
  if (!rule.peers || rule.peers.length === 0) return true;
  return rule.peers.some((wanted) => peerAllows(wanted, namespace, query));
}

function peerAllows(wanted: PolicyPeer, namespace: string, { direction, peer }: PolicyQuery): boolean {
  if (wanted.kind === 'block') {
    return inBlock(wanted.cidr, peer.address) && wanted.except.every((hole) => !inBlock(hole, peer.address));
  }
  if (!mayBeAPod(direction, peer)) return false;
  const { podSelector, namespaceSelector } = wanted;
  const podMatches = podSelector === undefined || selects(podSelector, peer.labels);
  if (namespaceSelector === undefined) return peer.namespace === namespace && podMatches;
  const labels = { ...peer.namespaceLabels, 'kubernetes.io/metadata.name': peer.namespace };
  return selects(namespaceSelector, labels) && podMatches;
}

function mayBeAPod(
  direction: PolicyQuery['direction'],
  peer: PolicyPeerFacts,
): peer is PolicyPeerFacts & { kind: 'proven' | 'pod' } {
  return peer.kind === 'proven' || (peer.kind === 'pod' && direction === 'outbound');
}

function selects(selector: LabelSelector, labels: Labels): boolean {
  const has = (key: string): boolean => Object.keys(labels).includes(key);
  return (
    Object.entries(selector.matchLabels).every(([key, value]) => has(key) && labels[key] === value) &&
    selector.matchExpressions.every(({ key, operator, values }) => {
      if (operator === 'Exists') return has(key);
      if (operator === 'DoesNotExist') return !has(key);
      const among = has(key) && values.includes(labels[key]!);
      return operator === 'In' ? among : !among;
    })
  );
}

function portsAllow(rule: PolicyRule, query: PolicyQuery, named: readonly NamedPort[] = []): boolean {
  if (!rule.ports || rule.ports.length === 0) return true;
  return rule.ports.some((port) => portAllows(port, query, named));
}

function portAllows(
  { protocol, port, endPort }: PolicyPort,
  query: PolicyQuery,
  named: readonly NamedPort[],
): boolean {
  if (protocol !== query.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'number') return query.port >= port && query.port <= (endPort ?? port);
  return named.some((one) => one.name === port && one.protocol === protocol && one.port === query.port);
}

/** By the binary digits of both addresses. */
function inBlock(cidr: string, address: string): boolean {
  const [network, prefix] = cidr.split('/') as [string, string];
  const [a, b] = [bits(network), bits(address)];
  return (
    a !== undefined && b !== undefined && a.length === b.length && a.startsWith(b.slice(0, Number(prefix)))
  );
}

function bits(address: string): string | undefined {
  if (address === '') return undefined;
  if (address.includes('.')) {
    const dotted = address.replace(/^::ffff:/, '');
    return dotted
      .split('.')
      .map((part) => Number(part).toString(2).padStart(8, '0'))
      .join('');
  }
  const [head = '', tail = ''] = address.split('::');
  const left = head.split(':').filter(Boolean);
  const right = tail.split(':').filter(Boolean);
  const middle = Array<string>(8 - left.length - right.length).fill('0');
  return [...left, ...middle, ...right]
    .map((group) => parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('');
}
