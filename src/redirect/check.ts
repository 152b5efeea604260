import type { Backend } from './backend.ts';
import type { RedirectOptions } from './plan.ts';

/** How the rules in force differ from those planned. */
export interface RuleCheck {
  readonly inForce: boolean;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
}

/** Compares what the kernel has with what it would have after a fresh `apply`, which an empty network namespace tells. */
export async function checkRules(backend: Backend, options: RedirectOptions): Promise<RuleCheck> {
  const [actual, expected] = await Promise.all([backend.read(), backend.expected(options)]);
  const missing = without(expected, actual);
  const unexpected = without(actual, expected);
  // The same rules in another order are other rules.
  const reordered =
    missing.length === 0 && unexpected.length === 0 && actual.join('\n') !== expected.join('\n');
  return {
    inForce: missing.length === 0 && unexpected.length === 0 && !reordered,
    missing: reordered ? ['(all rules are there, in another order)'] : missing,
    unexpected,
  };
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
