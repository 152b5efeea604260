import { type ClusterContents, contentsOf, type ObjectChange } from '../sources/cluster-contents.ts';
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
  /** Made when it is first asked for: ask when the state is told of. */
  readonly contents: ClusterContents;
}

/** What differs from the state that was told of before; the first one consists of nothing else. */
export type ClusterListener = (changes: readonly ObjectChange[]) => void;

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
  readonly #listeners = new Set<ClusterListener>();
  #timer: NodeJS.Timeout | undefined;
  /** Of objects, by name, since the state. */
  readonly #changes = new Map<string, ObjectChange>();
  readonly #complaints = new Map<string, SourceProblem>();
  /** Names of objects without which there is no new state. */
  readonly #missing = new Set<string>();
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
          onObject: (before, after) => this.#note(before, after),
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

  /** Whether every kind was listed whole. */
  get synced(): boolean {
    return this.#reflectors.every(({ synced }) => synced);
  }

  /** All that there is, whether there is a state of it or not. */
  objects(): ClusterObject[] {
    return this.#reflectors.flatMap((one) => one.values()).flatMap(({ object }) => object ?? []);
  }

  /** Called after every change of state or problems. Returns the way to stop that. */
  subscribe(listener: ClusterListener): () => void {
    const entry: ClusterListener = (changes) => listener(changes);
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

  /** A change costs what it is about, whatever the size of the cluster. */
  #note(before: KeptObject | undefined, after: KeptObject | undefined): void {
    const { name } = (after ?? before)!;
    const complaint = after === undefined ? undefined : complaintAbout(after);
    if (complaint === undefined) this.#complaints.delete(name);
    else this.#complaints.set(name, complaint);
    if (after !== undefined && opensByAbsence(after)) this.#missing.add(name);
    else this.#missing.delete(name);
    const known = this.#changes.get(name);
    const change = {
      name,
      before: known === undefined ? before?.object : known.before,
      after: after?.object,
    };
    if (change.before === change.after) this.#changes.delete(name);
    else this.#changes.set(name, change);
  }

  #gather(): void {
    const problems: SourceProblem[] = this.#reflectors.flatMap(({ problem }) =>
      problem === undefined ? [] : [{ reason: problem }],
    );
    problems.push(...[...this.#complaints.values()].slice(0, MOST_TOLD));
    const whole = this.synced && this.#missing.size === 0;
    let changes: readonly ObjectChange[] = [];
    let changed = false;
    if (whole && (this.state === undefined || this.#changes.size > 0)) {
      changes = [...this.#changes.values()];
      this.#changes.clear();
      this.state = this.#next();
      changed = true;
    }
    if (JSON.stringify(problems) !== JSON.stringify(this.problems)) {
      this.problems = problems;
      changed = true;
    }
    if (changed) for (const listener of [...this.#listeners]) listener(changes);
  }

  #next(): ClusterState {
    const objects = (): ClusterObject[] => this.objects();
    let contents: ClusterContents | undefined;
    return {
      version: (this.state?.version ?? 0) + 1,
      takenAt: this.#now(),
      get contents() {
        return (contents ??= contentsOf(objects()));
      },
    };
  }
}
