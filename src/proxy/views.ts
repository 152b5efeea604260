import { LRUCache } from 'lru-cache';
import { PolicySet } from '../policy/compile.ts';
import type { Direction } from '../policy/model.ts';
import { timedEvaluate } from '../observe/timed-evaluate.ts';
import type { Snapshot, Source } from '../sources/source.ts';
import { type FindForeignOwner, View } from './view.ts';

/** How many pods that left are remembered, so that their identities are refused until they expire. */
const MAX_GONE = 65_536;

/** Told the time of each evaluation of policy, seconds. */
export type OnEvaluated = (direction: Direction, seconds: number) => void;

/** Follows a source: compiles each snapshot once, remembers who left, and tells when anything changed. */
export class Views {
  #view: View | undefined;
  #policies: PolicySet | undefined;
  #known = new Set<string>();
  readonly #gone = new LRUCache<string, true>({ maxSize: MAX_GONE, sizeCalculation: () => 1 });
  readonly #waiting = new Set<() => void>();
  readonly #source: Source;
  readonly #onChange: (view: View) => void;
  readonly #onEvaluated: OnEvaluated;
  readonly #foreignOwner: FindForeignOwner | undefined;
  readonly #unsubscribe: () => void;

  constructor(
    source: Source,
    onChange: (view: View) => void,
    onEvaluated: OnEvaluated = () => {},
    foreignOwner?: FindForeignOwner,
  ) {
    this.#foreignOwner = foreignOwner;
    this.#source = source;
    this.#onEvaluated = onEvaluated;
    this.#onChange = onChange;
    this.#unsubscribe = source.subscribe(() => this.#follow());
    this.#follow();
  }

  get current(): View | undefined {
    return this.#view;
  }

  /** Resolves at the next change, or after so many milliseconds. */
  changed(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#waiting.add(done);
    });
  }

  close(): void {
    this.#unsubscribe();
    for (const done of this.#waiting) done();
  }

  #follow(): void {
    const { snapshot } = this.#source;
    if (snapshot === undefined || snapshot === this.#view?.snapshot) return;
    if (snapshot.partial !== true) this.#rememberGone(snapshot);
    this.#policies = new PolicySet(snapshot.policies, this.#policies, snapshot.clusterPolicies);
    const { namespace, labels, ports } = snapshot.self;
    const policy = this.#policies.forPod({
      namespace,
      labels,
      namespaceLabels: snapshot.selfNamespaceLabels,
      namedPorts: ports,
    });
    this.#view = new View(
      snapshot,
      timedEvaluate(policy, this.#onEvaluated),
      (uid) => this.#gone.has(uid),
      this.#foreignOwner,
    );
    for (const done of this.#waiting) done();
    this.#onChange(this.#view);
  }

  /** A pod is gone when a snapshot had it and this one has not; one that comes back under its uid is there again. */
  #rememberGone(snapshot: Snapshot): void {
    const known = new Set<string>();
    for (const pod of snapshot.directory.pods()) known.add(pod.uid);
    for (const uid of this.#known) if (!known.has(uid)) this.#gone.set(uid, true);
    for (const uid of known) this.#gone.delete(uid);
    this.#known = known;
  }
}
