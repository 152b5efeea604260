import type { ClusterAction, ClusterPolicy } from './cluster-model.ts';

/** What tells the kinds of cluster policies apart as they are written. */
export interface ClusterForm {
  readonly kind: string;
  readonly apiVersion: string;
  readonly specFields: readonly string[];
  /** undefined: the object says it. */
  readonly tier: ClusterPolicy['tier'] | undefined;
  readonly onlyName: string | undefined;
  /** The action behind each word. */
  readonly actions: Readonly<Record<string, ClusterAction>>;
  /** Where a rule's ports are: `protocols` of v1alpha2 or `ports` of v1alpha1. */
  readonly portsField: 'protocols' | 'ports';
  readonly egressPeers: readonly string[];
  /** Of rules, of peers of a rule, and of ports of a rule. */
  readonly mostEntries: number;
}

const PEERS = ['namespaces', 'pods', 'nodes', 'networks', 'domainNames'];

export const CLUSTER_FORMS: readonly ClusterForm[] = [
  {
    kind: 'ClusterNetworkPolicy',
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    specFields: ['tier', 'priority', 'subject', 'ingress', 'egress'],
    tier: undefined,
    onlyName: undefined,
    actions: { Accept: 'Accept', Deny: 'Deny', Pass: 'Pass' },
    portsField: 'protocols',
    egressPeers: PEERS,
    mostEntries: 25,
  },
  {
    kind: 'AdminNetworkPolicy',
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    specFields: ['priority', 'subject', 'ingress', 'egress'],
    tier: 'Admin',
    onlyName: undefined,
    actions: { Allow: 'Accept', Deny: 'Deny', Pass: 'Pass' },
    portsField: 'ports',
    egressPeers: PEERS,
    mostEntries: 100,
  },
  {
    kind: 'BaselineAdminNetworkPolicy',
    apiVersion: 'policy.networking.k8s.io/v1alpha1',
    specFields: ['subject', 'ingress', 'egress'],
    tier: 'Baseline',
    onlyName: 'default',
    actions: { Allow: 'Accept', Deny: 'Deny' },
    portsField: 'ports',
    egressPeers: PEERS.filter((one) => one !== 'domainNames'),
    mostEntries: 100,
  },
];
