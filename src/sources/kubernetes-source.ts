import { ApiClient, type ApiServer } from '../kube/api-client.ts';
import { type ClusterState, ClusterWatch } from '../kube/cluster-watch.ts';
import type { ReflectorTiming } from '../kube/reflector.ts';
import { type SnapshotOptions, snapshotOf } from './snapshot-of.ts';
import type { Snapshot, Source, SourceProblem } from './source.ts';

export interface KubernetesSourceOptions extends SnapshotOptions {
  readonly server: ApiServer;
  readonly timing?: Partial<ReflectorTiming>;
  /** Milliseconds since the epoch; the clock of the machine by default. */
  readonly now?: () => number;
}

/**
 * The Kubernetes API, read by the sidecar itself. `docs/kubernetes-source.md` is for its users.
 *
 * There is no snapshot before every kind was listed whole. After that the last one stays whatever fails: an API server that is away, refuses, or has
 * forgotten widens nothing; {@link confirmedAt} says how old the state may be.
 */
export class KubernetesSource implements Source {
  snapshot: Snapshot | undefined;
  problems: readonly SourceProblem[] = [];
  readonly #options: KubernetesSourceOptions;
  readonly #client: ApiClient;
  readonly #watch: ClusterWatch;
  readonly #now: () => number;
  readonly #listeners = new Set<() => void>();
  readonly #ended: (() => void)[] = [];
  #state: ClusterState | undefined;
  #ofSnapshot: readonly SourceProblem[] = [];
  #closed = false;

  constructor(options: KubernetesSourceOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#client = new ApiClient(options.server);
    this.#watch = new ClusterWatch({
      client: this.#client,
      // A pod is bound by the policies of its own namespace; those of others are none of its business.
      policiesOf: options.pod.split('/')[0],
      now: this.#now,
      ...(options.timing === undefined ? {} : { timing: options.timing }),
    });
    this.#watch.subscribe(() => this.#take());
  }

  get confirmedAt(): number | undefined {
    return this.#watch.confirmedAt;
  }

  async start(): Promise<void> {
    this.#watch.start();
    if (this.snapshot !== undefined || this.#closed) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        if (this.snapshot === undefined && !this.#closed) return;
        unsubscribe();
        resolve();
      };
      const unsubscribe = this.subscribe(done);
      this.#ended.push(done);
    });
  }

  subscribe(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners.clear();
    for (const done of this.#ended) done();
    await this.#watch.close();
    await this.#client.close();
  }

  #take(): void {
    if (this.#closed) return;
    const { state } = this.#watch;
    let fresh: Snapshot | undefined;
    if (state !== undefined && state !== this.#state) {
      const version = (this.snapshot?.version ?? 0) + 1;
      const made = snapshotOf(state.contents, this.#options, version, state.takenAt);
      this.#state = state;
      if (made === undefined) this.#ofSnapshot = [this.#missing()];
      else {
        this.#ofSnapshot = made.problems;
        fresh = made.snapshot;
      }
    }
    const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
    const ofWatch = this.#watch.problems.map((problem) =>
      problem.object === undefined ? { reason: `${problem.reason}${kept}` } : problem,
    );
    const problems = [...ofWatch, ...this.#ofSnapshot];
    const same = JSON.stringify(problems) === JSON.stringify(this.problems);
    if (!same) this.problems = problems;
    if (fresh !== undefined) this.snapshot = fresh;
    if (fresh === undefined && same) return;
    for (const listener of [...this.#listeners]) listener();
  }

  #missing(): SourceProblem {
    const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
    return {
      object: `pod/${this.#options.pod}`,
      reason: `the own pod is not in the API: is --pod its namespace and name?${kept}`,
    };
  }
}
