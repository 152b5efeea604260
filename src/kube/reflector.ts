import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import type { ApiClient } from './api-client.ts';
import { ApiError } from './api-error.ts';
import { type BackoffLimits, backoffMs } from './backoff.ts';
import { listPages } from './list.ts';
import { ObjectStore } from './object-store.ts';
import { type Resource, resourcePath } from './resources.ts';
import { markOf, type ObjectMark, parseWatchEvent, type RawObject } from './watch-event.ts';
import { LineSplitter } from './watch-lines.ts';

/** All in milliseconds. */
export interface ReflectorTiming {
  readonly backoff: BackoffLimits;
  /** A watch without a byte for that long is dead: the API server sends a bookmark about every minute. */
  readonly silenceMs: number;
  /** How long one watch is asked to last, from this to twice this. */
  readonly watchMs: number;
  /** How often a kind is looked for that the cluster does not have. */
  readonly absentMs: number;
}

export const REFLECTOR_TIMING: ReflectorTiming = {
  backoff: { firstMs: 100, mostMs: 30_000 },
  silenceMs: 90_000,
  watchMs: 300_000,
  absentMs: 60_000,
};

export interface ReflectorOptions<T> {
  readonly client: ApiClient;
  readonly resource: Resource;
  /** Those of one namespace alone. */
  readonly namespace?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly labelSelector?: string | undefined;
  /** What is kept of an object; undefined: nothing. `before`: what was kept of its last state. Must not throw. */
  readonly reduce: (object: RawObject, before: T | undefined) => T | undefined;
  /** Told of each object that comes, goes, or says something else, before {@link ReflectorOptions.onChange}. */
  readonly onObject?: (before: T | undefined, after: T | undefined) => void;
  /** Called when the objects, or {@link Reflector.problem}, are other than before. */
  readonly onChange: () => void;
  readonly timing?: Partial<ReflectorTiming>;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly random?: () => number;
}

/**
 * Follows the objects of one kind: lists them, then watches from there, for ever. Nothing stops it but {@link Reflector.close}; whatever fails leaves the
 * objects as they were, is told of in {@link Reflector.problem}, and is tried again with back-off. The objects never go back in time: lists are
 * consistent reads, and a watch continues from the last version seen.
 */
export class Reflector<T> {
  /** Why the objects may be out of date: the last attempt to list or watch failed. */
  problem: string | undefined;
  /** When the objects were last known to be the newest, milliseconds since the epoch; undefined: never. */
  confirmedAt: number | undefined;
  /** Whether the whole list has been seen once. */
  synced = false;
  readonly #options: ReflectorOptions<T>;
  readonly #timing: ReflectorTiming;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #end = new AbortController();
  readonly #store: ObjectStore<T>;
  #running: Promise<void> | undefined;
  /** From where a watch continues; undefined: the list is needed (again). */
  #version: string | undefined;
  /** Whether the server sends the list as a watch (KEP-3157); until it refuses, it is thought to. */
  #streamsLists = true;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#store = new ObjectStore<T>(options.onObject);
    this.#timing = { ...REFLECTOR_TIMING, ...options.timing };
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
  }

  /** Begins. Never rejects. */
  start(): void {
    this.#running ??= this.#run();
  }

  values(): T[] {
    return this.#store.values();
  }

  get(key: string): T | undefined {
    return this.#store.get(key);
  }

  async close(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#end.signal.aborted) {
      const began = performance.now();
      let askedMs = 0;
      try {
        await this.#round();
      } catch (error) {
        if (this.#end.signal.aborted) return;
        const { refused, retryAfterMs, pauseMs } = this.#judge(error);
        if (refused) continue;
        askedMs = retryAfterMs;
        if (pauseMs > 0) {
          await this.#pause(pauseMs);
          continue;
        }
      }
      // What held for a while was no failure, however it ended; what ends at once every time must not be asked without a pause.
      failures = performance.now() - began > this.#timing.backoff.mostMs / 3 ? 1 : failures + 1;
      await this.#pause(backoffMs(failures, this.#timing.backoff, this.#random(), askedMs));
    }
  }

  /** What an error means for the next round. */
  #judge(error: unknown): { refused: boolean; retryAfterMs: number; pauseMs: number } {
    const failed = error instanceof ApiError ? error : new ApiError(messageOf(error), { cause: error });
    const whole = this.#version === undefined;
    if (failed.expired) {
      // The next round lists. That is no problem as long as it succeeds.
      this.#version = undefined;
      return { refused: false, retryAfterMs: 0, pauseMs: 0 };
    }
    if (whole && this.#streamsLists && (failed.status === 422 || failed.status === 400)) {
      this.#streamsLists = false;
      return { refused: true, retryAfterMs: 0, pauseMs: 0 };
    }
    if (failed.status === 404 && this.#options.resource.optional) {
      this.#version = undefined;
      this.#take(new ObjectStore<T>());
      return { refused: false, retryAfterMs: 0, pauseMs: this.#timing.absentMs };
    }
    // A watch that breaks is everyday; that it cannot be had again is a problem.
    if (!(error instanceof BrokenOff)) this.#fail(this.#complaint(failed));
    return { refused: false, retryAfterMs: failed.retryAfterMs, pauseMs: 0 };
  }

  async #round(): Promise<void> {
    if (this.#version === undefined && !this.#streamsLists) await this.#list();
    await this.#watch();
  }

  async #list(): Promise<void> {
    const { client, resource, namespace, fieldSelector, labelSelector } = this.#options;
    const fresh = new ObjectStore<T>();
    const version = await listPages(
      client,
      resourcePath(resource, namespace),
      { fieldSelector, labelSelector },
      (items) => {
        if (items === 'anew') fresh.replaceBy(new ObjectStore<T>());
        else for (const item of items) this.#put(fresh, markOf(item), item);
      },
      this.#end.signal,
    );
    this.#version = version;
    this.#take(fresh);
  }

  /** One watch, to its end. Without a version it begins with all the objects that there are. */
  async #watch(): Promise<void> {
    const { client, resource, namespace, fieldSelector, labelSelector } = this.#options;
    const initial = this.#version === undefined;
    const timeoutMs = this.#timing.watchMs * (1 + this.#random());
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(Math.max(1, Math.round(timeoutMs / 1000))),
      fieldSelector,
      labelSelector,
      ...(initial
        ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
        : { resourceVersion: this.#version }),
    };
    const path = resourcePath(resource, namespace);
    const body = await client.stream(path, query, this.#timing.silenceMs, this.#end.signal);
    let fresh = initial ? new ObjectStore<T>() : undefined;
    if (!initial) this.#confirm();
    const lines = new LineSplitter();
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        let changed = false;
        for (const line of lines.push(chunk)) {
          const event = parseWatchEvent(line);
          if (event.type === 'BOOKMARK') {
            if (fresh !== undefined && !event.initialEventsEnd) continue;
            this.#version = event.version;
            if (fresh !== undefined) this.#take(fresh);
            fresh = undefined;
            continue;
          }
          const store = fresh ?? this.#store;
          if (event.type === 'DELETED') changed = store.delete(event.at.key) || changed;
          else changed = this.#put(store, event.at, event.object) || changed;
          // The versions of initial events are in no order: only the bookmark behind them can be continued from.
          if (fresh === undefined) this.#version = event.at.version;
        }
        if (fresh === undefined) this.#confirm(changed);
      }
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw fresh === undefined ? new BrokenOff(messageOf(error)) : error;
    } finally {
      body.destroy();
    }
    // An older server may take the parameters for nothing; the end of its watch is then no list.
    if (fresh !== undefined) {
      this.#streamsLists = false;
      throw new BrokenOff('the list was not complete when the watch ended');
    }
    if (lines.pending > 0) throw new BrokenOff('the watch was cut off in the middle of an event');
  }

  #put(store: ObjectStore<T>, at: ObjectMark, item: RawObject): boolean {
    const { resource, reduce } = this.#options;
    // Items of a list do not say what they are, those of a watch do.
    const whole = { apiVersion: resource.apiVersion, kind: resource.kind, ...item };
    const value = reduce(whole, this.#store.get(at.key));
    return value === undefined ? store.delete(at.key) : store.set(at, value);
  }

  #take(fresh: ObjectStore<T>): void {
    const changed = this.#store.replaceBy(fresh);
    const first = !this.synced;
    this.synced = true;
    this.#confirm(changed || first);
  }

  #confirm(changed = false): void {
    this.confirmedAt = this.#now();
    const tell = changed || this.problem !== undefined;
    this.problem = undefined;
    if (tell) this.#options.onChange();
  }

  #fail(problem: string): void {
    if (problem === this.problem) return;
    this.problem = problem;
    this.#options.onChange();
  }

  #complaint({ status, message }: ApiError): string {
    const { resource, namespace } = this.#options;
    const where = namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`;
    const remedy =
      status === 401
        ? '; the API server does not believe the token or certificate: is it of this cluster, and has it ended?'
        : status === 403
          ? `; allow list and watch on ${resource.plural} ${where} with RBAC`
          : '';
    return `${resource.kind}: ${message}${remedy}`;
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#end.signal }).catch(() => {});
  }
}

/** A watch that had begun ended before its time. */
class BrokenOff extends ApiError {}
