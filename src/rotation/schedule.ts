/** When a generation of a secret was made, seconds since the epoch. All replicas derive the rest from it. */
export interface Generation {
  readonly createdAt: number;
}

/** Seconds. */
export interface RotationPolicy {
  /** How old the newest generation may become before another is made. */
  readonly period: number;
  /** How long a new generation is published before it is used, so that everybody has heard of it. */
  readonly overlap: number;
  /** How long what a generation signed may be in use after the next one took over. */
  readonly life: number;
}

export interface Rotation<G extends Generation> {
  /** What signs now; undefined only when there is no generation at all. */
  readonly active: G | undefined;
  /** What others must believe now, oldest first: the active one, those before it whose work still lives, and the next. */
  readonly published: readonly G[];
  /** Another generation has to be made. */
  readonly due: boolean;
}

/**
 * What a list of generations means at a time. Pure and without memory: replicas that read the same list agree, whichever of them made it, and a
 * clock that is set back finds the generation that was active then.
 * @param now seconds since the epoch
 */
export function rotationAt<G extends Generation>(
  generations: readonly G[],
  now: number,
  policy: RotationPolicy,
): Rotation<G> {
  const sorted = generations.toSorted((a, b) => a.createdAt - b.createdAt);
  const startOf = (index: number): number =>
    index === 0 ? -Infinity : sorted[index]!.createdAt + policy.overlap;
  const active = sorted.findLastIndex((_, index) => startOf(index) <= now);
  const published = sorted.filter((_, index) => index >= active || now < startOf(index + 1) + policy.life);
  const newest = sorted.at(-1);
  return {
    active: sorted[active],
    published,
    due: newest === undefined || now >= newest.createdAt + policy.period,
  };
}
