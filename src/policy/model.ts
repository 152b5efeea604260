/**
 * NetworkPolicy v1 in the API's own shape (networking.k8s.io/v1), reduced to what decides. `undefined` is «field missing», an
 * empty list is «present and empty»: the API gives the two different meanings.
 */
export interface NetworkPolicy {
  readonly namespace: string;
  readonly name: string;
  readonly podSelector: LabelSelector;
  /** Already inferred where the object left it out. */
  readonly policyTypes: readonly ('Ingress' | 'Egress')[];
  readonly ingress: readonly PolicyRule[];
  readonly egress: readonly PolicyRule[];
}

/** One entry of `ingress` or `egress`. `peers` and `ports`: undefined or empty means every peer, every port. */
export interface PolicyRule {
  readonly peers: readonly PolicyPeer[] | undefined;
  readonly ports: readonly PolicyPort[] | undefined;
}

export type PolicyPeer =
  | {
      readonly kind: 'pods';
      readonly podSelector: LabelSelector | undefined;
      readonly namespaceSelector: LabelSelector | undefined;
    }
  | { readonly kind: 'block'; readonly cidr: string; readonly except: readonly string[] };

export interface PolicyPort {
  readonly protocol: Protocol;
  /** undefined: every port of the protocol. A text is the name of a port of the destination pod. */
  readonly port: number | string | undefined;
  readonly endPort: number | undefined;
}

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export type Labels = Readonly<Record<string, string>>;

export interface LabelSelector {
  readonly matchLabels: Labels;
  readonly matchExpressions: readonly LabelRequirement[];
}

export interface LabelRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
}

export type Direction = 'inbound' | 'outbound';
