import { UserError } from '../errors.ts';
import { parseCidr } from '../lib/cidr.ts';
import { contentsOf } from './cluster-contents.ts';
import { type FolderState, nextFolderState } from './folder-state.ts';
import { FolderWatch } from './folder-watch.ts';
import type { ManifestFile } from './manifest-file.ts';
import { type SnapshotOptions, snapshotOf } from './snapshot-of.ts';
import type { Snapshot, Source, SourceProblem } from './source.ts';

export interface FilesSourceOptions extends SnapshotOptions {
  readonly folder: string;
  /** Milliseconds since the epoch; the clock of the machine by default. */
  readonly now?: () => number;
}

/**
 * A folder of YAML or JSON as `kubectl get -o yaml` prints it, followed. `docs/files-source.md` is for its users.
 *
 * What is wrong never opens anything, see {@link nextFolderState}; when the own pod is not there any more, or the folder cannot be read, the last
 * snapshot stays. A file that is removed takes its objects with it: that is how a policy is taken back.
 */
export class FilesSource implements Source {
  snapshot: Snapshot | undefined;
  problems: readonly SourceProblem[] = [];
  readonly #options: FilesSourceOptions;
  readonly #watch: FolderWatch;
  readonly #listeners = new Set<() => void>();
  readonly #ended: (() => void)[] = [];
  #state: FolderState | undefined;
  #ofContents: readonly SourceProblem[] = [];
  #ofFolder: readonly SourceProblem[] = [];
  #started = false;
  #closed = false;

  /** Throws a `UserError` when an option is no CIDR. */
  constructor(options: FilesSourceOptions) {
    this.#options = options;
    for (const cidr of options.podCidrs ?? []) {
      if (parseCidr(cidr) === undefined) throw new UserError(`${cidr} is no CIDR; write it as 10.244.0.0/16`);
    }
    this.#watch = new FolderWatch(options.folder, {
      onFiles: (files) => this.#take(files),
      onFailure: (reason) => this.#fail(reason),
    });
  }

  async start(): Promise<void> {
    if (!this.#started) this.#watch.start();
    this.#started = true;
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
    // Of its own, so that one function may be there twice and be taken back once.
    const entry = (): void => listener();
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listeners.clear();
    for (const done of this.#ended) done();
    await this.#watch.close();
  }

  #fail(reason: string | undefined): void {
    const { folder } = this.#options;
    const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
    this.#ofFolder = reason === undefined ? [] : [{ file: folder, reason: `${reason}${kept}` }];
    this.#tell(undefined);
  }

  #take(files: ReadonlyMap<string, ManifestFile>): void {
    const [namespace = ''] = this.#options.pod.split('/');
    const { state, problems } = nextFolderState(this.#state, files, namespace);
    this.#ofFolder = [];
    this.#ofContents = problems;
    if (state === undefined) {
      this.#tell(undefined);
      return;
    }
    const { now = Date.now } = this.#options;
    const version = (this.snapshot?.version ?? 0) + 1;
    const made = snapshotOf(contentsOf(state.objects), this.#options, version, now());
    if (made === undefined) {
      const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
      const reason = `the own pod is not in the folder${kept}`;
      const own = { file: this.#options.folder, object: `pod/${this.#options.pod}`, reason };
      this.#ofContents = [...problems, own];
      this.#tell(undefined);
      return;
    }
    const same = this.#state !== undefined && sameObjects(this.#state.objects, state.objects);
    this.#state = state;
    this.#ofContents = [...problems, ...made.problems];
    this.#tell(same ? undefined : made.snapshot);
  }

  /** Tells the listeners, if there is anything to tell. */
  #tell(snapshot: Snapshot | undefined): void {
    const problems = [...this.#ofFolder, ...this.#ofContents];
    const same = JSON.stringify(problems) === JSON.stringify(this.problems);
    if (!same) this.problems = problems;
    if (snapshot !== undefined) this.snapshot = snapshot;
    if ((snapshot === undefined && same) || this.#closed) return;
    for (const listener of [...this.#listeners]) listener();
  }
}

function sameObjects(before: readonly unknown[], after: readonly unknown[]): boolean {
  return before.length === after.length && before.every((object, index) => object === after[index]);
}
