import { type Change, proposeChanges } from './changes.ts';
import { type Judgement, judge, type Question } from './judge.ts';

/** The answer to «why?». */
export interface Explanation extends Judgement {
  /** For a denial: changes each of which, made alone, allows this call; the smallest first. All of them were tried. */
  readonly changes: readonly Change[];
}

/** Why one end may or may not call the other, side by side, and what would have to change. */
export function explain(question: Question): Explanation {
  const judgement = judge(question);
  if (judgement.verdict === 'allow') return { ...judgement, changes: [] };
  const foreign = [question.from, question.to].find(
    (one) => one.kind === 'pod' && one.foreignDomain !== undefined,
  );
  // What another cluster labels is not this user's to change.
  const changes = proposeChanges(question, judgement).filter(
    (change) =>
      !(change.kind === 'label-pod' && question[change.end] === foreign) &&
      !(
        change.kind === 'label-namespace' &&
        foreign?.kind === 'pod' &&
        change.namespace === foreign.namespace
      ),
  );
  return { ...judgement, changes };
}
