import type { LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from './model.ts';

/** One rule in words: `from pods with app=api; to TCP 5432`. */
export function ruleText(rule: PolicyRule, direction: 'ingress' | 'egress', namespace: string): string {
  const peers =
    rule.peers === undefined || rule.peers.length === 0
      ? direction === 'ingress'
        ? 'from everybody'
        : 'to everything'
      : `${direction === 'ingress' ? 'from' : 'to'} ${rule.peers.map((peer) => peerText(peer, namespace)).join(', or ')}`;
  const ports =
    rule.ports === undefined || rule.ports.length === 0
      ? 'any port'
      : rule.ports.map(policyPortText).join(', ');
  return `${peers}; ${ports}`;
}

/** The rule of a policy by the number that people count it with, from 1. */
export function findRule(
  policies: readonly NetworkPolicy[],
  id: string,
  direction: 'ingress' | 'egress',
  number: number,
): { readonly rule: PolicyRule; readonly policy: NetworkPolicy } | undefined {
  const policy = policies.find((one) => `networkpolicy/${one.namespace}/${one.name}` === id);
  const rule = policy?.[direction][number - 1];
  return policy === undefined || rule === undefined ? undefined : { rule, policy };
}

/** `pods with app=api in namespace shop`, `10.0.0.0/8 except 10.1.0.0/16`. */
export function peerText(peer: PolicyPeer, namespace: string): string {
  if (peer.kind === 'block') {
    return peer.except.length === 0 ? peer.cidr : `${peer.cidr} except ${peer.except.join(' and ')}`;
  }
  const { podSelector, namespaceSelector } = peer;
  const pods = podSelector === undefined ? '' : selectorText(podSelector);
  const which = pods === '' ? 'all pods' : `pods with ${pods}`;
  if (namespaceSelector === undefined) return `${which} of namespace ${namespace}`;
  const name = onlyName(namespaceSelector);
  if (name !== undefined) return `${which} of namespace ${name}`;
  const namespaces = selectorText(namespaceSelector);
  return namespaces === '' ? `${which} of every namespace` : `${which} of namespaces with ${namespaces}`;
}

/** As kubectl writes selectors: `app=web,tier in (a,b),!legacy`. Empty for the selector of everything. */
export function selectorText({ matchLabels, matchExpressions }: LabelSelector): string {
  const parts = Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`);
  for (const { key, operator, values } of matchExpressions) {
    if (operator === 'Exists') parts.push(key);
    else if (operator === 'DoesNotExist') parts.push(`!${key}`);
    else parts.push(`${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`);
  }
  return parts.join(',');
}

/** `TCP 80`, `TCP 8000-8100`, `UDP dns`, `any TCP port`. */
export function policyPortText({ protocol, port, endPort }: PolicyPort): string {
  if (port === undefined) return `any ${protocol} port`;
  return endPort === undefined || endPort === port ? `${protocol} ${port}` : `${protocol} ${port}-${endPort}`;
}

function onlyName({ matchLabels, matchExpressions }: LabelSelector): string | undefined {
  if (matchExpressions.length > 0 || Object.keys(matchLabels).length !== 1) return undefined;
  return matchLabels['kubernetes.io/metadata.name'];
}
