import { printable } from '../lib/printable.ts';

/** What a sidecar has to have before it is ready, in the order in which it is told. */
export const CONDITIONS = ['listeners', 'source', 'identity', 'redirect', 'queues', 'serving'] as const;
export type Condition = (typeof CONDITIONS)[number];

/** Longest text of one condition: /readyz answers everybody who can reach the pod. */
const MAX_PROBLEM = 300;

/** Which conditions hold, and for those that do not the reason, for people. */
export class Readiness {
  readonly #missing = new Map<Condition, string>(CONDITIONS.map((condition) => [condition, 'not yet']));
  readonly #since = new Map<Condition, number>();
  readonly #onChange: (ready: boolean) => void;
  readonly #clock: () => number;

  /**
   * @param onChange called when readiness itself changes, not at every condition
   * @param clock for {@link Readiness.since}
   */
  constructor(onChange: (ready: boolean) => void = () => {}, clock: () => number = () => 0) {
    this.#onChange = onChange;
    this.#clock = clock;
  }

  /** Since when each condition holds that does, by the clock. */
  get since(): Readonly<Partial<Record<Condition, number>>> {
    return Object.fromEntries(this.#since);
  }

  get ready(): boolean {
    return this.#missing.size === 0;
  }

  /** @param problem undefined: the condition holds */
  set(condition: Condition, problem: string | undefined): void {
    const before = this.ready;
    if (problem === undefined) {
      if (this.#missing.delete(condition)) this.#since.set(condition, this.#clock());
    } else {
      this.#since.delete(condition);
      this.#missing.set(condition, printable(problem, MAX_PROBLEM));
    }
    if (this.ready !== before) this.#onChange(this.ready);
  }

  /** `ready`, or a line for each condition that does not hold. */
  get text(): string {
    if (this.ready) return 'ready';
    return CONDITIONS.flatMap((condition) => {
      const problem = this.#missing.get(condition);
      return problem === undefined ? [] : [`${condition}: ${problem}`];
    }).join('\n');
  }
}
