import { messageOf } from '../errors.ts';
import type { SharedContents, SharedObject } from '../rotation/shared-object.ts';
import {
  type Claim,
  claimKey,
  decodeRecords,
  encodeRecords,
  type IdentityRecord,
  KEPT,
  shardOf,
  SHARDS,
} from './identity-records.ts';

/** Claims that come within so many milliseconds are read and written together: a thousand pods that start at once must not be a thousand writes. */
const GATHER_MS = 50;
const ATTEMPTS = 8;

interface Waiting {
  readonly podUid: string;
  readonly key: string;
  readonly restarts: number;
  readonly done: (claim: Claim) => void;
  readonly failed: (error: unknown) => void;
}

export interface RecordStoreOptions {
  /** The object of a shard. */
  readonly objectOf: (shard: number) => SharedObject;
  /** Pods that are there: records of others end in time. */
  readonly isAlive: (podUid: string) => boolean;
  /** Seconds since the epoch. */
  readonly now?: () => number;
}

/** Which key each pod has, shared by all replicas in a few ConfigMaps; written when a pod gets its first key or another one, and only read for a renewal. */
export class RecordStore {
  readonly #options: RecordStoreOptions;
  readonly #shards: Map<string, IdentityRecord>[] = Array.from({ length: SHARDS }, () => new Map());
  readonly #waiting = new Map<number, Waiting[]>();
  readonly #listeners = new Set<() => void>();
  /** When a record's pod was first missed. */
  readonly #missed = new Map<string, number>();

  constructor(options: RecordStoreOptions) {
    this.#options = options;
  }

  /** The marks of second keys: pod uid to seconds since the epoch. */
  get marks(): Map<string, number> {
    const marks = new Map<string, number>();
    for (const shard of this.#shards) {
      for (const [uid, { since }] of shard) if (since > 0) marks.set(uid, since);
    }
    return marks;
  }

  get(podUid: string): IdentityRecord | undefined {
    return this.#shards[shardOf(podUid)]!.get(podUid);
  }

  /** Called when marks have changed. */
  subscribe(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Reads all shards. Throws when one cannot be read. */
  async load(): Promise<void> {
    await Promise.all(
      this.#shards.map(async (_, shard) => {
        const found = await this.#options.objectOf(shard).read();
        if (found !== undefined) this.take(shard, found);
      }),
    );
  }

  /** What a shard holds now, as it was read or watched. */
  take(shard: number, { data }: SharedContents): void {
    const before = this.#shards[shard]!;
    const after = decodeRecords(data);
    this.#shards[shard] = after;
    for (const [uid, { since }] of after) {
      if (since === 0 || before.get(uid)?.since === since) continue;
      for (const listener of this.#listeners) listener();
      return;
    }
  }

  /**
   * Says which key a pod asks with. The record is read for that, also where the key is known here: what this replica was told may be older than a key that
   * another one has taken. Another key is written for all replicas before it counts. Throws when that fails.
   */
  claim(podUid: string, key: string, restarts: number): Promise<Claim> {
    const shard = shardOf(podUid);
    return new Promise((done, failed) => {
      const waiting = this.#waiting.get(shard);
      const entry = { podUid, key, restarts, done, failed };
      if (waiting !== undefined) {
        waiting.push(entry);
        return;
      }
      this.#waiting.set(shard, [entry]);
      setTimeout(() => void this.#flush(shard), GATHER_MS);
    });
  }

  async #flush(shard: number): Promise<void> {
    const entries = this.#waiting.get(shard) ?? [];
    this.#waiting.delete(shard);
    try {
      const claims = await this.#write(shard, entries);
      for (const [at, { done }] of entries.entries()) done(claims[at]!);
    } catch (error) {
      for (const { failed } of entries) failed(error);
    }
  }

  async #write(shard: number, entries: readonly Waiting[]): Promise<Claim[]> {
    const object = this.#options.objectOf(shard);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const found = await object.read();
      const records = decodeRecords(found?.data ?? {});
      this.#dropEnded(records);
      const claims = entries.map(({ podUid, key, restarts }) => {
        const claim = claimKey(records.get(podUid), key, restarts, this.#now());
        records.set(podUid, claim.record);
        return claim;
      });
      const data = encodeRecords(records);
      const done =
        claims.every(({ kind }) => kind === 'known') ||
        (found === undefined ? await object.create(data) : await object.replace(data, found.version));
      if (!done) continue;
      this.take(shard, { data, version: '' });
      return claims;
    }
    throw new Error(`${object.name} changes faster than it can be written`);
  }

  /** A pod that is missed may only be unknown here yet; a day later no token of it lives. */
  #dropEnded(records: Map<string, IdentityRecord>): void {
    const now = this.#now();
    for (const uid of records.keys()) {
      if (this.#options.isAlive(uid)) {
        this.#missed.delete(uid);
        continue;
      }
      const since = this.#missed.get(uid) ?? now;
      this.#missed.set(uid, since);
      if (now - since < KEPT) continue;
      records.delete(uid);
      this.#missed.delete(uid);
    }
  }

  #now(): number {
    return this.#options.now?.() ?? Date.now() / 1000;
  }
}

/** Of a problem that {@link RecordStore.claim} threw. */
export function claimProblem(error: unknown): string {
  return `the record of the pod's key cannot be written: ${messageOf(error)}`;
}
