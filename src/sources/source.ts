import type { Directory, Pod } from '../peers/directory.ts';
import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { Labels, NetworkPolicy } from '../policy/model.ts';

/**
 * The seam to whatever knows the cluster: a folder of YAML, the Kubernetes API, the authority. Each yields one versioned
 * snapshot and its changes. `test/support/source-compliance.ts` is the contract.
 */
export interface Source {
  /** Resolves at the first whole snapshot; until then {@link Source.snapshot} is undefined and everything is denied. */
  start(): Promise<void>;
  /** The last good one. A source that fails keeps it: staleness never widens anything. */
  readonly snapshot: Snapshot | undefined;
  /**
   * When the snapshot was last known to be the newest that there is, milliseconds since the epoch. Left out by a source that cannot tell, such as a
   * folder that somebody else fills.
   */
  readonly confirmedAt?: number | undefined;
  /** What is wrong at the moment; empty when all is well. */
  readonly problems: readonly SourceProblem[];
  /** Called after every change of snapshot or problems. Returns the way to stop that. */
  subscribe(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface Snapshot {
  /** Grows with every change. */
  readonly version: number;
  /** When it was taken, milliseconds since the epoch. */
  readonly takenAt: number;
  /** The pod that this proxy stands in. */
  readonly self: Pod;
  readonly selfNamespaceLabels: Labels;
  readonly mode: EnforcementMode;
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
  readonly directory: Directory;
  /** The source tells only what was asked about: that a pod is missing says nothing about it. False where it is left out. */
  readonly partial?: boolean;
}

export type EnforcementMode = 'enforce' | 'audit';

/** Something in the source that does not count, and where it stands. */
export interface SourceProblem {
  readonly file?: string;
  readonly line?: number;
  /** `networkpolicy/shop/db-allow`. */
  readonly object?: string;
  readonly reason: string;
}
