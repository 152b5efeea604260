import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { FieldProblem } from '../policy/fields.ts';
import type { Labels, NetworkPolicy } from '../policy/model.ts';
import type { PodSpec } from './pod-spec.ts';

/** A pod, or the one pod that a workload's template stands for. */
export interface Workload extends PodSpec {
  readonly namespace: string;
  /** `web-1`, or for a template `deploy/web`: with the namespace before it the name by which it is asked for. */
  readonly name: string;
  readonly isTemplate: boolean;
  readonly labels: Labels;
  /** Keys of labels that its own selector asks for: they cannot be changed. */
  readonly fixedLabels: readonly string[];
  /** Canonical, the primary address first. A template has none. */
  readonly addresses: readonly string[];
  /** Of the node that it runs on, as its status says. */
  readonly hostAddresses: readonly string[];
  /** Succeeded or Failed: nothing runs any more, and its addresses may be somebody else's. */
  readonly finished: boolean;
  readonly terminating: boolean;
  /** Something else in the cluster made it. */
  readonly owned: boolean;
}

export interface ClusterNamespace {
  readonly name: string;
  readonly labels: Labels;
}

export interface ClusterNode {
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
}

/** An object of one of the kinds that decide something. */
export type DecodedObject =
  | { readonly kind: 'namespace'; readonly namespace: ClusterNamespace }
  | { readonly kind: 'node'; readonly node: ClusterNode }
  | { readonly kind: 'workload'; readonly workload: Workload }
  | { readonly kind: 'network-policy'; readonly policy: NetworkPolicy }
  | { readonly kind: 'cluster-policy'; readonly policy: ClusterPolicy };

/** What came of one object. */
export type DecodeResult =
  | { readonly object: DecodedObject; readonly warnings: readonly FieldProblem[] }
  | { readonly problems: readonly FieldProblem[] }
  /** A kind that no verdict depends on. */
  | 'ignored';
