import { type FSWatcher, watch } from 'node:fs';
import { messageOf } from '../errors.ts';
import type { ManifestFile } from './manifest-file.ts';
import { type FolderListing, readManifestFile, scanFolder } from './manifest-folder.ts';

/** How often the folder is looked at, whether or not the kernel told of a change: it does not tell of everything. */
const POLL_MS = 1_000;
/** A folder counts when it has been the same for so long: nobody reads a file that is being written. */
const SETTLE_MS = 50;
/** When files are gone: who replaces a folder removes first and writes afterwards. */
const SETTLE_REMOVAL_MS = 300;
/** A folder that does not come to rest is told of. */
const RESTLESS_MS = 5_000;
const MOST_WATCHED_FOLDERS = 200;

export interface FolderEvents {
  /** The folder came to rest in a state that was not read before. Files that did not change are the same objects as before. */
  readonly onFiles: (files: ReadonlyMap<string, ManifestFile>) => void;
  /** It cannot be read, or does not come to rest; undefined: it is as {@link onFiles} said last. */
  readonly onFailure: (reason: string | undefined) => void;
}

interface KnownFile {
  readonly fingerprint: string;
  readonly content: ManifestFile;
}

/**
 * Follows a folder by looking at it every second, sooner when the kernel tells of a change, and reads it when it has come to rest. Survives that
 * the folder is not there, is replaced or comes back.
 */
export class FolderWatch {
  readonly #folder: string;
  readonly #events: FolderEvents;
  #known = new Map<string, KnownFile>();
  /** What was read last; undefined after a failure. */
  #applied: string | undefined;
  #pending: { readonly signature: string; readonly since: number } | undefined;
  #restlessSince: number | undefined;
  readonly #watchers = new Map<string, { readonly inode: string; readonly watcher: FSWatcher }>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #noticed = false;
  #lookedAt = -Infinity;
  #closed = false;

  constructor(folder: string, events: FolderEvents) {
    this.#folder = folder;
    this.#events = events;
  }

  start(): void {
    this.#schedule(0);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    await this.#looking;
  }

  #schedule(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#lookAndGoOn();
    }, milliseconds);
  }

  async #lookAndGoOn(): Promise<void> {
    this.#noticed = false;
    this.#lookedAt = performance.now();
    const again = await this.#look();
    this.#looking = undefined;
    this.#schedule(this.#noticed ? Math.min(again, SETTLE_MS) : again);
  }

  /** @returns after how many milliseconds to look again */
  async #look(): Promise<number> {
    let listing: FolderListing;
    try {
      listing = await scanFolder(this.#folder);
    } catch (error) {
      this.#applied = undefined;
      this.#pending = undefined;
      this.#unwatch(() => false);
      if (!this.#closed) this.#events.onFailure(`cannot be read: ${messageOf(error)}`);
      return POLL_MS;
    }
    if (this.#closed) return POLL_MS;
    this.#watch(listing.folders);
    const signature = signatureOf(listing);
    const now = performance.now();
    if (signature === this.#applied) {
      this.#pending = undefined;
      this.#restlessSince = undefined;
      this.#events.onFailure(undefined);
      return POLL_MS;
    }
    if (signature !== this.#pending?.signature) {
      this.#restlessSince ??= now;
      this.#pending = { signature, since: now };
      if (now - this.#restlessSince > RESTLESS_MS)
        this.#events.onFailure('keeps changing; it is not read meanwhile');
      return SETTLE_MS;
    }
    const rest = this.#settleTime(listing) - (now - this.#pending.since);
    if (rest > 0) return Math.min(rest, SETTLE_MS);
    await this.#read(listing, signature);
    return this.#applied === signature ? POLL_MS : SETTLE_MS;
  }

  #settleTime(listing: FolderListing): number {
    const there = new Set(listing.entries.map(({ file }) => file));
    for (const file of this.#known.keys()) if (!there.has(file)) return SETTLE_REMOVAL_MS;
    return SETTLE_MS;
  }

  async #read(listing: FolderListing, signature: string): Promise<void> {
    const files = new Map<string, KnownFile>();
    for (const entry of listing.entries) {
      const { file, fingerprint } = entry;
      const known = this.#known.get(file);
      const content = known?.fingerprint === fingerprint ? known.content : await readManifestFile(entry);
      files.set(file, { fingerprint, content });
    }
    // What changed while it was read is read again.
    const after = await scanFolder(this.#folder).then(signatureOf, () => undefined);
    if (after !== signature || this.#closed) return;
    this.#known = files;
    this.#applied = signature;
    this.#pending = undefined;
    this.#restlessSince = undefined;
    this.#events.onFiles(new Map([...files].map(([file, { content }]) => [file, content])));
  }

  /** The kernel's notice only makes a look come sooner. Each folder has its own watch; one that was replaced has another inode. */
  #watch(folders: ReadonlyMap<string, string>): void {
    this.#unwatch((path, inode) => folders.get(path) === inode);
    for (const [path, inode] of folders) {
      if (this.#watchers.has(path) || this.#watchers.size >= MOST_WATCHED_FOLDERS) continue;
      try {
        const watcher = watch(path, { persistent: false }, () => this.#notice());
        watcher.on('error', () => this.#unwatch((one) => one !== path));
        this.#watchers.set(path, { inode, watcher });
      } catch {
        // Gone, or no watches left: the regular look does it.
      }
    }
  }

  #notice(): void {
    this.#noticed = true;
    // A look that is due sooner, or under way, is not put off: somebody who writes all the time must not keep it from coming.
    if (this.#looking !== undefined || this.#pending !== undefined) return;
    this.#schedule(Math.max(1, this.#lookedAt + SETTLE_MS - performance.now()));
  }

  #unwatch(keep: (path: string, inode: string) => boolean): void {
    for (const [path, { inode, watcher }] of this.#watchers) {
      if (keep(path, inode)) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
  }
}

function signatureOf({ entries }: FolderListing): string {
  return JSON.stringify(entries.map(({ file, fingerprint }) => [file, fingerprint]));
}
