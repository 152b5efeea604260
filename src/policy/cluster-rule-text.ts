import type { ClusterPeer, ClusterPolicy, ClusterPort, ClusterRule } from './cluster-model.ts';
import { peerText, policyPortText, selectorText } from './rule-text.ts';

/** One rule of a cluster policy in words: `Deny «no metadata» to 169.254.169.254/32; TCP 80`. */
export function clusterRuleText(
  { name, action, peers, ports }: ClusterRule,
  direction: 'ingress' | 'egress',
): string {
  const called = name === '' ? '' : ` «${name}»`;
  const who = peers.map(clusterPeerText).join(', or ');
  const which = ports === undefined ? 'any port' : ports.map(clusterPortText).join(', ');
  return `${action}${called} ${direction === 'ingress' ? 'from' : 'to'} ${who}; ${which}`;
}

/** The rule of a cluster policy by its number from 1. */
export function findClusterRule(
  policies: readonly ClusterPolicy[],
  id: string,
  direction: 'ingress' | 'egress',
  number: number,
): ClusterRule | undefined {
  return policies.find((one) => one.id === id)?.[direction][number - 1];
}

function clusterPeerText(peer: ClusterPeer): string {
  switch (peer.kind) {
    case 'pods':
      return peerText(peer, '');
    case 'nodes': {
      const selector = selectorText(peer.selector);
      return selector === '' ? 'every node' : `nodes with ${selector}`;
    }
    case 'networks':
      return peer.cidrs.join(' or ');
    case 'domains':
      return peer.names.join(' or ');
  }
}

function clusterPortText(port: ClusterPort): string {
  if ('name' in port) return `ports named ${port.name}`;
  return policyPortText({ protocol: port.protocol, port: port.first, endPort: port.last });
}
