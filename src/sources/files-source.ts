import { type FSWatcher, watch } from 'node:fs';
import { messageOf } from '../errors.ts';
import { buildDirectory } from '../peers/table.ts';
import { contentsOf } from './cluster-contents.ts';
import { enforcementMode } from './enforcement.ts';
import type { ManifestFile } from './manifest-file.ts';
import { listFolder, readManifestFile } from './manifest-folder.ts';
import type { EnforcementMode, Snapshot, Source, SourceProblem } from './source.ts';

/** How often the folder is looked at, whether or not the kernel told of a change: it does not tell of everything. */
const POLL_MS = 1_000;
/** Changes come in bunches; a look waits for so long after the first of one. */
const SETTLE_MS = 30;

export interface FilesSourceOptions {
  readonly folder: string;
  /** `namespace/name` of the own pod. */
  readonly pod: string;
  readonly mode: EnforcementMode;
}

interface KnownFile {
  readonly fingerprint: string;
  /** The file's last state that was in order. */
  readonly good: ManifestFile | undefined;
  /** A number of its own for each good state. */
  readonly state: number;
  readonly problems: readonly SourceProblem[];
}

/**
 * A folder of YAML or JSON as `kubectl get -o yaml` prints it, followed.
 *
 * What is wrong never opens anything: a file that breaks stays in force as it was; until every file was in order once, and the own pod is
 * among them, there is no snapshot and everything is refused; when the own pod is not there any more, or the folder cannot be read, the last
 * snapshot stays. A file that is removed takes its objects with it: that is how a policy is taken back.
 */
export class FilesSource implements Source {
  snapshot: Snapshot | undefined;
  problems: readonly SourceProblem[] = [];
  readonly #options: FilesSourceOptions;
  readonly #listeners = new Set<() => void>();
  #files = new Map<string, KnownFile>();
  #signature = '';
  #version = 0;
  #states = 0;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(options: FilesSourceOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#schedule(POLL_MS);
    if (this.snapshot !== undefined) return;
    await new Promise<void>((resolve) => {
      const unsubscribe = this.subscribe(() => {
        if (this.snapshot === undefined && !this.#closed) return;
        unsubscribe();
        resolve();
      });
    });
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#watcher?.close();
    await this.#looking;
    for (const listener of this.#listeners) listener();
  }

  #schedule(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#look().then(() => this.#schedule(POLL_MS)), milliseconds);
  }

  async #look(): Promise<void> {
    if (this.#looking !== undefined) {
      this.#again = true;
      return this.#looking;
    }
    this.#looking = this.#read();
    await this.#looking;
    this.#looking = undefined;
    if (this.#again) {
      this.#again = false;
      await this.#look();
    }
  }

  async #read(): Promise<void> {
    const { folder } = this.#options;
    this.#watch();
    let entries;
    try {
      entries = await listFolder(folder);
    } catch (error) {
      this.#update([{ file: folder, reason: `cannot be read: ${messageOf(error)}` }]);
      return;
    }
    const files = new Map<string, KnownFile>();
    for (const entry of entries) {
      const known = this.#files.get(entry.file);
      if (known !== undefined && known.fingerprint === entry.fingerprint) {
        files.set(entry.file, known);
        continue;
      }
      const read = await readManifestFile(entry);
      const inOrder = read.problems.length === 0;
      files.set(entry.file, {
        fingerprint: entry.fingerprint,
        good: inOrder ? read : known?.good,
        state: inOrder ? ++this.#states : (known?.state ?? 0),
        problems: inOrder ? read.warnings : read.problems,
      });
    }
    this.#apply(files);
  }

  #apply(files: Map<string, KnownFile>): void {
    this.#files = files;
    const known = [...files.values()];
    const problems = known.flatMap((file) => file.problems);
    if (this.snapshot === undefined && known.some((file) => file.good === undefined)) {
      // A policy may stand in the file that cannot be read.
      this.#update(problems);
      return;
    }
    const contents = contentsOf(known.flatMap((file) => file.good?.objects ?? []));
    for (const object of contents.duplicates) {
      problems.push({ object, reason: 'is there more than once; the first file by name counts' });
    }
    const [namespace = '', name = ''] = this.#options.pod.split('/');
    const own = contents.pods.find(({ pod }) => pod.namespace === namespace && pod.name === name);
    if (own === undefined) {
      const kept = this.snapshot === undefined ? '' : '; the last state stays in force';
      problems.push({
        file: this.#options.folder,
        object: `pod/${this.#options.pod}`,
        reason: `the own pod is not in the folder${kept}`,
      });
      this.#update(problems);
      return;
    }
    const signature = JSON.stringify([...files].map(([file, { state }]) => [file, state]));
    if (signature === this.#signature) {
      this.#update(problems);
      return;
    }
    this.#signature = signature;
    const directory = buildDirectory(contents);
    const ownNamespace = contents.namespaces.find((one) => one.name === namespace);
    this.#update(problems, {
      version: ++this.#version,
      takenAt: Date.now(),
      self: own.pod,
      selfNamespaceLabels: directory.namespaceLabels(namespace),
      mode: enforcementMode(
        { annotations: own.annotations, labels: own.pod.labels },
        ownNamespace,
        this.#options.mode,
      ),
      policies: contents.policies,
      directory,
    });
  }

  #update(problems: readonly SourceProblem[], snapshot?: Snapshot): void {
    const same = JSON.stringify(problems) === JSON.stringify(this.problems);
    this.problems = problems;
    if (snapshot !== undefined) this.snapshot = snapshot;
    if (snapshot === undefined && same) return;
    for (const listener of this.#listeners) listener();
  }

  /** The kernel's notice only makes a look come sooner; a folder that is replaced is watched anew at the next one. */
  #watch(): void {
    if (this.#watcher !== undefined || this.#closed) return;
    try {
      const watcher = watch(this.#options.folder, { recursive: true, persistent: false });
      const stop = (): void => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = undefined;
      };
      watcher.on('change', () => this.#schedule(SETTLE_MS));
      watcher.on('error', stop);
      this.#watcher = watcher;
    } catch {
      // Not there, or no watches left: the regular look does it.
    }
  }
}
