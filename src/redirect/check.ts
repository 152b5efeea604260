import type { Backend } from './backend.ts';
import type { RuleSet } from './plan-rules.ts';
import { routingExpected, routingInForce } from './routing.ts';

/** How the rules in force differ from those planned. */
export interface RuleCheck {
  readonly inForce: boolean;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
}

/** Compares what the kernel has with what it would have after a fresh `apply`, both as the tool writes them. */
export async function checkRules(backend: Backend, plan: RuleSet): Promise<RuleCheck> {
  const expected = [...(await backend.expected(plan)), ...routingExpected(plan.routing)];
  return compareRules(expected, [...(await backend.read()), ...(await routingInForce())]);
}

/** The difference between two lists of rules, in which the order counts. */
export function compareRules(expected: readonly string[], actual: readonly string[]): RuleCheck {
  const missing = without(expected, actual);
  const unexpected = without(actual, expected);
  const same = missing.length === 0 && unexpected.length === 0;
  const moved = expected.find((line, index) => line !== actual[index]);
  // The same rules in another order are other rules.
  if (same && moved !== undefined)
    return { inForce: false, missing: [`${moved} (is not in its place)`], unexpected };
  return { inForce: same, missing, unexpected };
}

/** The lines of `all` that `some` has not, each as often as it is missing. */
function without(all: readonly string[], some: readonly string[]): string[] {
  const left = [...some];
  return all.filter((line) => {
    const at = left.indexOf(line);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}
