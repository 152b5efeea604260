import { type ClusterContents, contentsOf } from '../sources/cluster-contents.ts';
import type { ClusterObject } from '../sources/objects.ts';
import type { SourceProblem } from '../sources/source.ts';
import type { ApiClient } from './api-client.ts';
import { complaintAbout, type KeptObject, keepObject, opensByAbsence } from './cluster-objects.ts';
import { Reflector, type ReflectorTiming } from './reflector.ts';
import { CLUSTER_RESOURCES, NETWORK_POLICIES, type Resource } from './resources.ts';

export interface ClusterWatchOptions {
  readonly client: ApiClient;
  /** All that decide about connections by default. */
  readonly resources?: readonly Resource[];
  /** Whose NetworkPolicies are followed; undefined: those of all namespaces. A pod is bound by those of its own. */
  readonly policiesOf?: string | undefined;
  readonly timing?: Partial<ReflectorTiming>;
  /** Changes within so many milliseconds make one snapshot. */
  readonly gatherMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** The cluster at one moment. */
export interface ClusterState {
  /** Grows with every change. */
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly takenAt: number;
  readonly contents: ClusterContents;
}

const GATHER_MS = 20;
const MOST_TOLD = 20;

/**
 * The cluster as the API server has it, followed: one {@link Reflector} per kind, one versioned state of them all. There is no state before every kind was
 * listed whole; after that the last one stays, whatever fails.
 */
export class ClusterWatch {
  state: ClusterState | undefined;
  problems: readonly SourceProblem[] = [];
  readonly #options: ClusterWatchOptions;
  readonly #now: () => number;
  readonly #reflectors: readonly Reflector<KeptObject>[];
  readonly #listeners = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;
  #objects: readonly ClusterObject[] | undefined;
  #closed = false;

  constructor(options: ClusterWatchOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    const { client, policiesOf, timing = {}, resources = CLUSTER_RESOURCES } = options;
    this.#reflectors = resources.map(
      (resource) =>
        new Reflector<KeptObject>({
          client,
          resource,
          namespace: resource === NETWORK_POLICIES ? policiesOf : undefined,
          reduce: keepObject,
          onChange: () => this.#soon(),
          timing,
          now: this.#now,
        }),
    );
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  /** When every kind was last known to be the newest, milliseconds since the epoch; undefined before the first state. */
  get confirmedAt(): number | undefined {
    const times = this.#reflectors.map((one) => one.confirmedAt);
    return this.state === undefined || times.includes(undefined)
      ? undefined
      : Math.min(...(times as number[]));
  }

  /** Called after every change of state or problems. Returns the way to stop that. */
  subscribe(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#listeners.clear();
    await Promise.all(this.#reflectors.map((one) => one.close()));
  }

  #soon(): void {
    if (this.#closed) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#gather();
    }, this.#options.gatherMs ?? GATHER_MS);
  }

  #gather(): void {
    const problems: SourceProblem[] = this.#reflectors.flatMap(({ problem }) =>
      problem === undefined ? [] : [{ reason: problem }],
    );
    const kept = this.#reflectors.flatMap((one) => one.values());
    problems.push(...kept.flatMap((one) => complaintAbout(one) ?? []).slice(0, MOST_TOLD));
    const objects = kept.flatMap(({ object }) => object ?? []);
    const whole = this.#reflectors.every(({ synced }) => synced) && !kept.some(opensByAbsence);
    let changed = false;
    if (whole && !sameObjects(this.#objects, objects)) {
      this.#objects = objects;
      this.state = {
        version: (this.state?.version ?? 0) + 1,
        takenAt: this.#now(),
        contents: contentsOf(objects),
      };
      changed = true;
    }
    if (JSON.stringify(problems) !== JSON.stringify(this.problems)) {
      this.problems = problems;
      changed = true;
    }
    if (changed) for (const listener of [...this.#listeners]) listener();
  }
}

function sameObjects(before: readonly unknown[] | undefined, after: readonly unknown[]): boolean {
  return before?.length === after.length && before.every((object, index) => object === after[index]);
}
