import { parseAddress, type IpAddress } from '../lib/address.ts';
import { type CompiledClusterPolicy, type CompiledClusterRule, matchClusterRule } from './cluster-rules.ts';
import type { Decision, NamedPort, PolicyQuery } from './evaluate.ts';
import type { Direction } from './model.ts';

/** Answers for one tier; undefined: it decides nothing, and the next one is asked. */
type NextTier = () => Decision;

const OPEN: Decision = { allow: true, isolated: false };

/**
 * The three tiers of one pod and direction: Admin, then NetworkPolicy, which decides for good where it isolates the pod, then
 * Baseline, then everything is allowed (v1alpha2 `ClusterNetworkPolicySpec.tier`).
 *
 * Where a rule may or may not be about a peer that proved nothing, both ways are followed, and it takes both to allow: proving
 * oneself can then only widen access, whatever the rule's action is.
 */
export class Tiers {
  readonly #admin: readonly CompiledClusterRule[];
  readonly #baseline: readonly CompiledClusterRule[];

  /** @param policies that select the pod, in the order of their precedence */
  constructor(direction: Direction, policies: readonly CompiledClusterPolicy[]) {
    const rules = (tier: CompiledClusterPolicy['tier']): CompiledClusterRule[] =>
      policies.filter((one) => one.tier === tier).flatMap((one) => one[direction]);
    this.#admin = rules('Admin');
    this.#baseline = rules('Baseline');
  }

  /** @param networkPolicy what the NetworkPolicies say */
  evaluate(
    query: PolicyQuery,
    namedPorts: readonly NamedPort[] | undefined,
    networkPolicy: NextTier,
  ): Decision {
    const address = parseAddress(query.peer.address);
    const baseline = (): Decision => walk(this.#baseline, 0, query, address, namedPorts, () => OPEN);
    return walk(this.#admin, 0, query, address, namedPorts, () => {
      const decision = networkPolicy();
      return decision.isolated ? decision : baseline();
    });
  }
}

/** The order in which policies are asked: by priority; those of equal priority, which the API leaves open, by name. */
export function byPrecedence(a: CompiledClusterPolicy, b: CompiledClusterPolicy): number {
  return a.priority - b.priority || (a.id < b.id ? -1 : Number(a.id > b.id));
}

function walk(
  rules: readonly CompiledClusterRule[],
  start: number,
  query: PolicyQuery,
  address: IpAddress | undefined,
  namedPorts: readonly NamedPort[] | undefined,
  next: NextTier,
): Decision {
  for (let index = start; index < rules.length; index++) {
    const rule = rules[index]!;
    const match = matchClusterRule(rule, query, address, namedPorts);
    if (match === 'no') continue;
    // Accepting somebody who may not be meant is the one thing that would be too much.
    if (match === 'unknown' && rule.action === 'Accept') continue;
    if (rule.action !== 'Pass') return rule.decision!;
    const passed = next();
    if (match === 'yes' || !passed.allow) return passed;
  }
  return next();
}
