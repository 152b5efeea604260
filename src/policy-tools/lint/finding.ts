import type { NetworkPolicy } from '../../policy/model.ts';
import type { Inventory, Origin } from '../../workloads/inventory.ts';
import type { Workload } from '../../workloads/workload.ts';

/** `error`: it does not do what it says. `warning`: it probably does not do what is meant. `note`: worth knowing. */
export type Level = 'error' | 'warning' | 'note';

/** What a check found, before anybody knows where the object is written. */
export interface Finding {
  readonly rule: string;
  readonly level: Level;
  /** `NetworkPolicy shop/db-allow`. */
  readonly object: string;
  /** `spec.ingress[0].from[1]`. */
  readonly field: string;
  readonly why: string;
  readonly remedy: string;
  readonly origin?: Origin | undefined;
}

/** What checks look at. */
export interface LintInput {
  readonly inventory: Inventory;
  /** What runs, each thing once; hostNetwork pods are not among them. */
  readonly pods: readonly Workload[];
}

export type Check = (input: LintInput) => Iterable<Finding>;

/** The name of a policy as findings have it. */
export function policyName({ namespace, name }: NetworkPolicy): string {
  return `NetworkPolicy ${namespace}/${name}`;
}

/** The rules of a policy with the field that each is written at. */
export function* rulesOf(policy: NetworkPolicy) {
  for (const direction of ['ingress', 'egress'] as const) {
    for (const [index, rule] of policy[direction].entries()) {
      yield { direction, index, rule, field: `spec.${direction}[${index}]` };
    }
  }
}

/** Up to `most` names and how many more there are. */
export function someOf(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
