import type { Direction } from '../policy/model.ts';
import type { Evaluate } from '../policy/evaluate.ts';

/** The policy engine, with the time of each evaluation told in seconds. */
export function timedEvaluate(
  inner: Evaluate,
  told: (direction: Direction, seconds: number) => void,
): Evaluate {
  return {
    evaluate(query) {
      const from = performance.now();
      const decision = inner.evaluate(query);
      told(query.direction, (performance.now() - from) / 1000);
      return decision;
    },
  };
}
