import { printable } from '../lib/printable.ts';

/** What a sidecar has to have before it is ready, in the order in which it is told. */
export const CONDITIONS = ['listeners', 'source', 'identity', 'redirect', 'queues', 'serving'] as const;
export type Condition = (typeof CONDITIONS)[number];

/** Who may wait for readiness at once: everybody who can reach the pod may ask. */
const MOST_WAITING = 16;

/** Longest text of one condition: /readyz answers everybody who can reach the pod. */
const MAX_PROBLEM = 300;

/** Which conditions hold, and for those that do not the reason, for people. */
export class Readiness {
  readonly #missing = new Map<Condition, string>(CONDITIONS.map((condition) => [condition, 'not yet']));
  readonly #since = new Map<Condition, number>();
  readonly #onChange: (ready: boolean) => void;
  readonly #clock: () => number;
  readonly #waiting = new Set<() => void>();

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
    if (this.ready) for (const end of this.#waiting) end();
  }

  /**
   * Resolves when it is ready, or when `ms` are over, whichever comes first. At once for who comes when many wait already. Kubelet's startup
   * probe asks once a second: a sidecar that is ready a moment later would keep the application waiting for the next one.
   */
  async within(ms: number): Promise<void> {
    if (this.ready || ms <= 0 || this.#waiting.size >= MOST_WAITING) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      this.#waiting.add(end);
    });
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

/** How long a request wants to be kept until the sidecar is ready: `wait=4` are 4,000 ms. 9 s at most; 0 for anything else. */
export function waitOf(query: string): number {
  return Number(/^wait=(\d)$/.exec(query)?.[1] ?? 0) * 1_000;
}
