import type { Container, Pod } from '../inject/pod.ts';

/** The members of an object's metadata that checks look at. */
export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface NamespaceFact {
  readonly metadata: Metadata;
}

export interface NodeFact {
  readonly metadata: Metadata;
  readonly spec?: { readonly providerID?: string };
  readonly status?: {
    readonly nodeInfo?: {
      readonly kubeletVersion?: string;
      readonly operatingSystem?: string;
      readonly kernelVersion?: string;
      readonly containerRuntimeVersion?: string;
    };
  };
}

export interface QuotaFact {
  readonly metadata: Metadata;
  readonly status?: {
    readonly hard?: Readonly<Record<string, string>>;
    readonly used?: Readonly<Record<string, string>>;
  };
}

type Quantities = Readonly<Record<string, string>>;

export interface LimitRangeFact {
  readonly metadata: Metadata;
  readonly spec?: {
    readonly limits?: readonly {
      readonly type: string;
      readonly min?: Quantities;
      readonly max?: Quantities;
      readonly maxLimitRequestRatio?: Quantities;
    }[];
  };
}

/** A Deployment or DaemonSet. */
export interface WorkloadFact {
  readonly metadata: Metadata;
  readonly spec?: {
    readonly replicas?: number;
    readonly template?: { readonly spec?: { readonly containers?: readonly Container[] } };
  };
  readonly status?: { readonly readyReplicas?: number; readonly updatedReplicas?: number };
}

export interface WebhookFact {
  readonly metadata: Metadata;
  readonly webhooks?: readonly {
    readonly name: string;
    readonly failurePolicy?: string;
    readonly clientConfig?: { readonly caBundle?: string };
  }[];
}

export interface ConfigMapFact {
  readonly metadata: Metadata;
  readonly data?: Readonly<Record<string, string>>;
}

/** What the API server said to a pod that asks for a sidecar and that it was told not to keep (`dryRun=All`). */
export interface DryRunFact {
  readonly namespace: string;
  readonly outcome: 'injected' | 'not-injected' | 'refused';
  /** The refusal, in the API server's words. */
  readonly message: string;
}

/** One right that installing takes, and whether the user has it. */
export interface RightFact {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly allowed: boolean;
}

/** Something that could not be looked at, and what is therefore not known. */
export interface UnseenFact {
  readonly what: string;
  readonly why: string;
  /** The API server has no such kind: nothing is there that was overlooked. */
  readonly unknown?: true;
}

/**
 * A cluster as an API server tells it, for checks to look at. A list that could not be had is undefined, and {@link unseen} says why: nothing is
 * concluded from what was not seen.
 */
export interface ClusterFacts {
  /** `v1.34.1`. */
  readonly version: string | undefined;
  readonly namespaces: readonly NamespaceFact[] | undefined;
  readonly nodes: readonly NodeFact[] | undefined;
  readonly pods: readonly Pod[] | undefined;
  /** NetworkPolicies and cluster policies as the API gave them, with their kinds. */
  readonly policies: readonly object[] | undefined;
  readonly quotas: readonly QuotaFact[] | undefined;
  readonly limitRanges: readonly LimitRangeFact[] | undefined;
  readonly daemonSets: readonly WorkloadFact[] | undefined;
  /** Of the installation's namespace. */
  readonly deployments: readonly WorkloadFact[] | undefined;
  /** All of the cluster, mutating and validating. */
  readonly mutatingWebhooks: readonly WebhookFact[] | undefined;
  readonly validatingWebhooks: readonly WebhookFact[] | undefined;
  /** The copies of the authority's certificates in all namespaces. */
  readonly caConfigMaps: readonly ConfigMapFact[] | undefined;
  readonly dryRuns: readonly DryRunFact[];
  readonly rights: readonly RightFact[] | undefined;
  readonly unseen: readonly UnseenFact[];
}

/** What an installation is called, and of which release this program is. */
export interface CheckSettings {
  /** Where authority and injector run, or will. */
  readonly namespace: string;
  /** Namespaces that are meant to be enrolled; empty: those that ask for sidecars already. */
  readonly enrolling: readonly string[];
  readonly caConfigMap: string;
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
  /** Of this program: `0.1.0`. */
  readonly release: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}
