import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { LabelSelector, NetworkPolicy, Protocol } from '../policy/model.ts';

/** The policies of a state of the cluster. */
export interface Policies {
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
}

/** Everything by which policies tell ends and ports apart. */
export interface Mentions {
  readonly podSelectors: readonly LabelSelector[];
  readonly namespaceSelectors: readonly LabelSelector[];
  readonly cidrs: ReadonlySet<string>;
  readonly ports: readonly { readonly protocol: Protocol; readonly first: number; readonly last: number }[];
  readonly domains: boolean;
}

/** Gathers what policies mention. */
export function mentionsOf({ policies, clusterPolicies }: Policies): Mentions {
  const podSelectors: LabelSelector[] = [];
  const namespaceSelectors: LabelSelector[] = [];
  const cidrs = new Set<string>();
  const ports: { protocol: Protocol; first: number; last: number }[] = [];
  let domains = false;
  for (const policy of policies) {
    podSelectors.push(policy.podSelector);
    for (const rule of [...policy.ingress, ...policy.egress]) {
      for (const { protocol, port, endPort } of rule.ports ?? []) {
        if (typeof port === 'number') ports.push({ protocol, first: port, last: endPort ?? port });
      }
      for (const peer of rule.peers ?? []) {
        if (peer.kind === 'block') for (const text of [peer.cidr, ...peer.except]) cidrs.add(text);
        else addSelectors(peer);
      }
    }
  }
  for (const policy of clusterPolicies) {
    addSelectors(policy.subject);
    for (const rule of [...policy.ingress, ...policy.egress]) {
      for (const port of rule.ports ?? []) if ('first' in port) ports.push(port);
      for (const peer of rule.peers) {
        if (peer.kind === 'pods') addSelectors(peer);
        else if (peer.kind === 'networks') for (const cidr of peer.cidrs) cidrs.add(cidr);
        else if (peer.kind === 'domains') domains = true;
      }
    }
  }
  return { podSelectors, namespaceSelectors, cidrs, ports, domains };

  function addSelectors(one: {
    readonly podSelector: LabelSelector | undefined;
    readonly namespaceSelector: LabelSelector | undefined;
  }): void {
    if (one.podSelector !== undefined) podSelectors.push(one.podSelector);
    if (one.namespaceSelector !== undefined) namespaceSelectors.push(one.namespaceSelector);
  }
}

/** The policies of several states together. */
export function allPolicies(states: readonly Policies[]): Policies {
  return {
    policies: states.flatMap((one) => one.policies),
    clusterPolicies: states.flatMap((one) => one.clusterPolicies),
  };
}
