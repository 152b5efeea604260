import type { Decision } from './evaluate.ts';
import { type CompiledPeer, compilePeer } from './match.ts';
import type { NetworkPolicy, PolicyRule } from './model.ts';
import { type CompiledPorts, compilePorts } from './ports.ts';
import { type CompiledSelector, compileSelector } from './selector.ts';

/** A policy ready for any pod of its namespace. */
export interface CompiledPolicy {
  /** `networkpolicy/shop/db-allow`. */
  readonly id: string;
  readonly subject: CompiledSelector;
  /** undefined: the policy says nothing about this direction. Empty: it isolates and allows nothing. */
  readonly inbound: readonly CompiledRule[] | undefined;
  readonly outbound: readonly CompiledRule[] | undefined;
}

export interface CompiledRule {
  readonly policy: string;
  /** Counts from 1. */
  readonly number: number;
  /** undefined: everybody, proven or not, pod or not. */
  readonly peers: readonly CompiledPeer[] | undefined;
  readonly ports: CompiledPorts;
  /** What is answered when this rule decides; made once, so that allowing allocates nothing. */
  readonly allowed: Decision;
}

/** Compiles one policy, independent of any pod. */
export function compileRules(policy: NetworkPolicy): CompiledPolicy {
  const id = `networkpolicy/${policy.namespace}/${policy.name}`;
  const rules = (list: readonly PolicyRule[]): CompiledRule[] =>
    list.map((rule, index) => ({
      policy: id,
      number: index + 1,
      peers:
        rule.peers === undefined || rule.peers.length === 0
          ? undefined
          : rule.peers.map((peer) => compilePeer(peer, policy.namespace)),
      ports: compilePorts(rule.ports),
      allowed: { allow: true, isolated: true, policy: id, rule: index + 1 },
    }));
  return {
    id,
    subject: compileSelector(policy.podSelector),
    inbound: policy.policyTypes.includes('Ingress') ? rules(policy.ingress) : undefined,
    outbound: policy.policyTypes.includes('Egress') ? rules(policy.egress) : undefined,
  };
}
