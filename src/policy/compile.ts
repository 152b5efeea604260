import type { ClusterPolicy } from './cluster-model.ts';
import { type CompiledClusterPolicy, compileClusterPolicy, subjectMatches } from './cluster-rules.ts';
import { type CompiledPolicy, type CompiledRule, compileRules } from './compiled-policy.ts';
import type { Decision, Evaluate, NamedPort, PolicyQuery } from './evaluate.ts';
import type { Direction, Labels, NetworkPolicy } from './model.ts';
import { nearestMiss } from './nearest-miss.ts';
import { RuleTable } from './rule-table.ts';
import { selectorMatches } from './selector.ts';
import { byPrecedence, Tiers } from './tiers.ts';

/** The pod that policies are evaluated for. */
export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Labels;
  /** The ports that its containers name; inbound rules may use the names. */
  readonly namedPorts?: readonly NamedPort[];
  /** Cluster policies select pods by them too. */
  readonly namespaceLabels?: Labels;
}

const NOT_ISOLATED: Decision = { allow: true, isolated: false };

/**
 * All policies of a cluster or of a namespace, compiled once per change and shared by all pods they are asked for. Pure: what
 * did not change is taken over from the `previous` set, recognised by the identity of the policy's object.
 */
export class PolicySet {
  readonly #compiled = new Map<NetworkPolicy, CompiledPolicy>();
  readonly #byNamespace = new Map<string, CompiledPolicy[]>();
  readonly #clusterPolicies: readonly CompiledClusterPolicy[];

  constructor(
    policies: readonly NetworkPolicy[],
    previous?: PolicySet,
    clusterPolicies: readonly ClusterPolicy[] = [],
  ) {
    const taken = previous === undefined ? undefined : previous.#compiled;
    for (const policy of policies) {
      const compiled = taken?.get(policy) ?? compileRules(policy);
      this.#compiled.set(policy, compiled);
      const neighbours = this.#byNamespace.get(policy.namespace);
      if (neighbours === undefined) this.#byNamespace.set(policy.namespace, [compiled]);
      else neighbours.push(compiled);
    }
    // The verdict does not depend on the order; which rule is named does, and should not change from run to run.
    for (const list of this.#byNamespace.values())
      list.sort((a, b) => (a.id < b.id ? -1 : Number(a.id > b.id)));
    this.#clusterPolicies = clusterPolicies.map(compileClusterPolicy).toSorted(byPrecedence);
  }

  /** The policies that select a pod, sorted by name. */
  selecting(pod: PolicyPod): readonly CompiledPolicy[] {
    const candidates = this.#byNamespace.get(pod.namespace) ?? [];
    return candidates.filter((policy) => selectorMatches(policy.subject, pod.labels));
  }

  /** The engine of one pod. */
  forPod(pod: PolicyPod): Evaluate {
    const selecting = this.selecting(pod);
    const inbound = new Side('inbound', selecting, pod.namedPorts);
    const outbound = new Side('outbound', selecting, undefined);
    const sideOf = (query: PolicyQuery): Side => (query.direction === 'inbound' ? inbound : outbound);
    const cluster = this.#clusterPolicies.filter((policy) => subjectMatches(policy, pod));
    if (cluster.length === 0) return { evaluate: (query) => sideOf(query).evaluate(query) };
    const tiers = { inbound: new Tiers('inbound', cluster), outbound: new Tiers('outbound', cluster) };
    return {
      evaluate: (query) => {
        const { direction } = query;
        const namedPorts = direction === 'inbound' ? pod.namedPorts : query.namedPorts;
        return tiers[direction].evaluate(query, namedPorts, () => sideOf(query).evaluate(query));
      },
    };
  }
}

/** The engine of one pod under these policies; for several pods, or changes over time, see {@link PolicySet}. */
export function compilePolicy(options: {
  readonly policies: readonly NetworkPolicy[];
  readonly pod: PolicyPod;
}): Evaluate {
  return new PolicySet(options.policies).forPod(options.pod);
}

class Side {
  readonly #direction: Direction;
  readonly #rules: readonly CompiledRule[];
  readonly #policies: readonly string[];
  readonly #table: RuleTable;
  readonly #ownPorts: readonly NamedPort[] | undefined;

  constructor(
    direction: Direction,
    selecting: readonly CompiledPolicy[],
    ownPorts: readonly NamedPort[] | undefined,
  ) {
    this.#direction = direction;
    const isolating = selecting.filter((policy) => policy[direction] !== undefined);
    this.#policies = isolating.map((policy) => policy.id);
    this.#rules = isolating.flatMap((policy) => policy[direction] ?? []);
    this.#table = new RuleTable(direction, this.#rules);
    this.#ownPorts = ownPorts;
  }

  evaluate(query: PolicyQuery): Decision {
    if (this.#policies.length === 0) return NOT_ISOLATED;
    const namedPorts = this.#direction === 'inbound' ? this.#ownPorts : query.namedPorts;
    const rule = this.#table.firstMatch(query, namedPorts);
    return rule === undefined ? this.#denied(query, namedPorts) : rule.allowed;
  }

  // The nearest miss costs a walk over every rule: only who reads it pays for it.
  #denied(query: PolicyQuery, namedPorts: readonly NamedPort[] | undefined): Decision {
    const rules = this.#rules;
    return {
      allow: false,
      isolated: true,
      policies: this.#policies,
      get nearestMiss() {
        return nearestMiss(rules, query, namedPorts);
      },
    };
  }
}
