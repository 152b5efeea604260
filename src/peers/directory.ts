import type { Labels } from '../policy/model.ts';
import type { NamedPort } from '../policy/evaluate.ts';

/** A pod as far as its neighbours need to know it. */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly serviceAccount: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly nodeName: string | undefined;
  readonly ports: readonly NamedPort[];
  /** Ports that kubelet probes: of the pod's probes and lifecycle hooks. */
  readonly probePorts: readonly number[];
  /** Speaks the preamble. */
  readonly enrolled: boolean;
  /** Its sidecar takes the `syn` carrier beside the `stream` carrier. */
  readonly nfqueue?: boolean;
  /** Its addresses are those of its node. */
  readonly hostNetwork: boolean;
}

/** Who has an address. `unknown`: inside the pod network, and nobody is known to own it. */
export type AddressOwner =
  | { readonly kind: 'pod'; readonly pod: Pod }
  | { readonly kind: 'node'; readonly name: string; readonly labels: Labels }
  | { readonly kind: 'external' }
  | { readonly kind: 'unknown' }
  /** Outside this cluster, in the networks of another trust domain that is federated. No directory says so; trust does. */
  | { readonly kind: 'foreign'; readonly domain: string };

/** What trust says of an address that is nobody's in this cluster. */
export type ForeignOwner = Extract<AddressOwner, { kind: 'foreign' | 'unknown' }>;

/** A port of a Service and what answers behind it. */
export interface ServicePort {
  readonly namespace: string;
  readonly service: string;
  /** `sessionAffinity: ClientIP`. */
  readonly clientIpAffinity: boolean;
  /** `internalTrafficPolicy: Local`. */
  readonly localTraffic: boolean;
  readonly endpoints: readonly ServiceEndpoint[];
}

export interface ServiceEndpoint {
  readonly address: string;
  /** The target port: the one that policy is about. */
  readonly port: number;
  readonly ready: boolean;
  /** It ends, but answers still: better than nobody. */
  readonly servingWhileTerminating: boolean;
  readonly nodeName: string | undefined;
  /** Where the control plane would like its clients to be (EndpointSlice `hints`); undefined: it says nothing. */
  readonly hints?: EndpointHints;
}

/** Names of the nodes whose traffic is meant. */
export interface EndpointHints {
  /** `forNodes`; empty: no hint of this kind. */
  readonly nodes: ReadonlySet<string>;
  /** The nodes in the zones of `forZones`; undefined: no hint of this kind. */
  readonly zones: ReadonlySet<string> | undefined;
}

/** Questions about addresses. Answers are of one snapshot; nothing here waits. */
export interface Directory {
  owner(address: string): AddressOwner;
  /** Whether the pod network is known, so that an external address is certainly no pod's. */
  readonly knowsPodNetwork: boolean;
  /** The Service that has this address (cluster IP, external IP, load balancer) with that TCP port. */
  service(address: string, port: number): ServicePort | undefined;
  pod(namespace: string, name: string): Pod | undefined;
  /** Every pod that the source knows. */
  pods(): Iterable<Pod>;
  namespaceLabels(namespace: string): Labels;
  /** Addresses and ports by which a pod's port may be meant: those of Services that have the pod as an endpoint there. */
  destinationsOf(
    podAddress: string,
    port: number,
  ): readonly { readonly address: string; readonly port: number }[];
}
