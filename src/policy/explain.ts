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
  return { ...judgement, changes: judgement.verdict === 'allow' ? [] : proposeChanges(question, judgement) };
}
