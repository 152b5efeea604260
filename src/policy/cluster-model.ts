import type { LabelSelector, Protocol } from './model.ts';

/**
 * A policy of the cluster's administrator: ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), and AdminNetworkPolicy and
 * BaselineAdminNetworkPolicy (v1alpha1), which it replaced, in the same shape.
 */
export interface ClusterPolicy {
  /** `clusternetworkpolicy/deny-metadata`. */
  readonly id: string;
  readonly tier: 'Admin' | 'Baseline';
  /** Lower comes first. The BaselineAdminNetworkPolicy, which has none, comes after every other. */
  readonly priority: number;
  readonly subject: PodSelection;
  readonly ingress: readonly ClusterRule[];
  readonly egress: readonly ClusterRule[];
}

/** Pods of selected namespaces. */
export interface PodSelection {
  readonly namespaceSelector: LabelSelector;
  /** undefined: all of them. */
  readonly podSelector: LabelSelector | undefined;
}

export type ClusterAction = 'Accept' | 'Deny' | 'Pass';

export interface ClusterRule {
  /** What its author called it; may be empty. */
  readonly name: string;
  readonly action: ClusterAction;
  readonly peers: readonly ClusterPeer[];
  /** undefined: every port of every protocol. */
  readonly ports: readonly ClusterPort[] | undefined;
}

export type ClusterPeer =
  | ({ readonly kind: 'pods' } & PodSelection)
  | { readonly kind: 'nodes'; readonly selector: LabelSelector }
  | { readonly kind: 'networks'; readonly cidrs: readonly string[] }
  | { readonly kind: 'domains'; readonly names: readonly string[] };

export type ClusterPort =
  | { readonly protocol: Protocol; readonly first: number; readonly last: number }
  /** Every port that the destination pod gives this name, of whatever protocol. */
  | { readonly name: string };
