import { type IpAddress, parseAddress } from '../lib/address.ts';
import { cidrContains } from '../lib/cidr.ts';
import type { CompiledRule } from './compiled-policy.ts';
import type { NamedPort, NearestMiss, PolicyQuery } from './evaluate.ts';
import { type CompiledPeer, labelsCount } from './match.ts';
import { missText } from './miss-text.ts';
import type { Labels } from './model.ts';
import { type CompiledPorts, portsInclude } from './ports.ts';
import { type CompiledRequirement, type CompiledSelector, labelOf, requirementHolds } from './selector.ts';

/** One thing that stands between a query and a rule. */
export type Unmet =
  /** The peer's labels do not count before it proves them. */
  | { readonly kind: 'proof' }
  /** The rule names pods, and nothing but an address is known of the peer. */
  | { readonly kind: 'pod'; readonly wanted: CompiledPeer & { readonly kind: 'pods' } }
  | {
      readonly kind: 'label';
      readonly of: 'pod' | 'namespace';
      readonly requirement: CompiledRequirement;
      readonly actual: string | undefined;
    }
  /** A podSelector alone means pods of the policy's own namespace. */
  | { readonly kind: 'namespace'; readonly wanted: string; readonly actual: string }
  | { readonly kind: 'address'; readonly block: string; readonly excepted: boolean }
  | { readonly kind: 'port'; readonly ports: CompiledPorts };

/** A rule that does not match, and all that it would take. */
export interface Miss {
  readonly rule: CompiledRule;
  readonly unmet: readonly Unmet[];
}

/**
 * How hard each thing is to change, to find the rule that came closest: a namespace's labels are many pods', and an address
 * cannot be changed at will.
 */
const WEIGHT: Record<Exclude<Unmet['kind'], 'label'>, number> = {
  proof: 1,
  port: 2,
  namespace: 3,
  pod: 4,
  address: 5,
};
const LABEL_WEIGHT = { pod: 2, namespace: 3 };

/** The nearest miss as the seam gives it; undefined when there is no rule at all. */
export function nearestMiss(
  rules: readonly CompiledRule[],
  query: PolicyQuery,
  namedPorts: readonly NamedPort[] | undefined,
): NearestMiss | undefined {
  const miss = closestMiss(rules, query, namedPorts);
  if (miss === undefined) return undefined;
  return {
    policy: miss.rule.policy,
    rule: miss.rule.number,
    text: missText(miss.unmet, query, namedPorts),
  };
}

/** The rule with the least in its way; of equals the first. Undefined when there is no rule that could ever match. */
export function closestMiss(
  rules: readonly CompiledRule[],
  query: PolicyQuery,
  namedPorts: readonly NamedPort[] | undefined,
): Miss | undefined {
  const address = parseAddress(query.peer.address);
  let closest: Miss | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const rule of rules) {
    const included = portsInclude(rule.ports, query.protocol, query.port, namedPorts);
    for (const wanted of rule.peers ?? [undefined]) {
      const obstacles = new Obstacles(least);
      if (!included) obstacles.add({ kind: 'port', ports: rule.ports });
      if (wanted?.kind === 'never') continue;
      if (wanted !== undefined) addOfPeer(obstacles, wanted, query, address);
      if (obstacles.weight < least) [closest, least] = [{ rule, unmet: obstacles.unmet }, obstacles.weight];
    }
  }
  return closest;
}

/** What stands in the way of one entry; a denial may come at volume, so no more is gathered than can still be the least. */
class Obstacles {
  readonly unmet: Unmet[] = [];
  weight = 0;
  readonly #least: number;

  constructor(least: number) {
    this.#least = least;
  }

  get tooMany(): boolean {
    return this.weight >= this.#least;
  }

  add(unmet: Unmet): void {
    this.weight += unmet.kind === 'label' ? LABEL_WEIGHT[unmet.of] : WEIGHT[unmet.kind];
    this.unmet.push(unmet);
  }
}

function addOfPeer(
  obstacles: Obstacles,
  wanted: Exclude<CompiledPeer, { readonly kind: 'never' }>,
  { direction, peer }: PolicyQuery,
  address: IpAddress | undefined,
): void {
  if (wanted.kind === 'block') {
    const inside = address !== undefined && cidrContains(wanted.cidr, address);
    const excepted = inside && wanted.except.some((hole) => cidrContains(hole, address));
    if (!inside || excepted) obstacles.add({ kind: 'address', block: wanted.text, excepted });
    return;
  }
  if (peer.kind === 'address') return obstacles.add({ kind: 'pod', wanted });
  if (wanted.namespace !== undefined && wanted.namespace !== peer.namespace) {
    obstacles.add({ kind: 'namespace', wanted: wanted.namespace, actual: peer.namespace });
  }
  addOfLabels(obstacles, 'pod', wanted.podSelector, peer.labels, undefined);
  addOfLabels(obstacles, 'namespace', wanted.namespaceSelector, peer.namespaceLabels, peer.namespace);
  if (!labelsCount(direction, peer)) obstacles.add({ kind: 'proof' });
}

function addOfLabels(
  obstacles: Obstacles,
  of: 'pod' | 'namespace',
  selector: CompiledSelector,
  labels: Labels,
  namespace: string | undefined,
): void {
  for (const requirement of selector.requirements) {
    if (obstacles.tooMany) return;
    const actual = labelOf(labels, requirement.key, namespace);
    if (!requirementHolds(requirement, actual)) obstacles.add({ kind: 'label', of, requirement, actual });
  }
}
