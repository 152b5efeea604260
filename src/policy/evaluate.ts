import type { Direction, Labels, Protocol } from './model.ts';

/**
 * The seam of the policy engine: a compiled policy answers for one pod. Pure; `test/support/evaluate-compliance.ts` is the contract.
 */
export interface Evaluate {
  evaluate(query: PolicyQuery): Decision;
}

export interface PolicyQuery {
  readonly direction: Direction;
  readonly peer: PolicyPeerFacts;
  readonly protocol: Protocol;
  /** The port at the destination pod, after all address translation. */
  readonly port: number;
  /** Outbound: named ports of the destination pod, where it is a pod. Inbound ones are those of the own pod. */
  readonly namedPorts?: readonly NamedPort[];
  /** Outbound: DNS names whose answers hold the destination's address; rules about domain names go by them. */
  readonly names?: readonly string[];
}

/**
 * Who the other side is. `proven`: it proved this identity on this connection. `pod`: the source says that a pod that cannot
 * prove itself has this address (good enough for egress, worth nothing for ingress). `address`: nothing but an address.
 */
export type PolicyPeerFacts =
  | {
      readonly kind: 'proven' | 'pod';
      readonly address: string;
      readonly namespace: string;
      readonly labels: Labels;
      readonly namespaceLabels: Labels;
    }
  | {
      readonly kind: 'address';
      readonly address: string;
      /** Certainly no pod: rules that deny pods are not about it. Unless this is known, they might be. */
      readonly outside?: boolean;
      /** Labels of the node whose address it is. */
      readonly nodeLabels?: Labels;
    };

export interface NamedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: Protocol;
}

/** `policy` is named kubectl's way: `networkpolicy/shop/db-allow`; `rule` counts from 1 as people do. */
export type Decision =
  | { readonly allow: true; readonly isolated: false }
  | { readonly allow: true; readonly isolated: true; readonly policy: string; readonly rule: number }
  | {
      readonly allow: false;
      readonly isolated: true;
      /** The policies that isolate the pod in this direction. */
      readonly policies: readonly string[];
      readonly nearestMiss: NearestMiss | undefined;
      /** The rule that denies: cluster policies have such rules, NetworkPolicy has none. */
      readonly deniedBy?: { readonly policy: string; readonly rule: number };
    };

export interface NearestMiss {
  readonly policy: string;
  readonly rule: number;
  /** A sentence without subject: «would match if the peer had app=api; it has app=web». */
  readonly text: string;
}
