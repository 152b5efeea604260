import { randomUUID } from 'node:crypto';

export interface FakeObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    [field: string]: unknown;
  };
  [field: string]: unknown;
}

/** One change, as a watch tells it. */
export interface FakeEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: FakeObject;
  /** Before the change; a selector may have matched that alone. */
  readonly before: FakeObject | undefined;
  readonly version: number;
  /** `v1 pods`. */
  readonly collection: string;
}

/** A failure as the API server words it. */
export class FakeStatus extends Error {
  readonly code: number;
  readonly reason: string;

  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }

  get body(): object {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      code: this.code,
    };
  }
}

/** What etcd does for an API server: versions, history, compaction. */
export class FakeStore {
  version = 1_000;
  /** Older versions are gone. */
  compacted = 0;
  readonly #collections = new Map<string, Map<string, FakeObject>>();
  #history: FakeEvent[] = [];
  readonly #listeners = new Set<(event: FakeEvent) => void>();

  list(collection: string, namespace?: string): FakeObject[] {
    const all = [...(this.#collections.get(collection)?.values() ?? [])];
    return all
      .filter((object) => namespace === undefined || object.metadata.namespace === namespace)
      .toSorted((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));
  }

  get(collection: string, key: string): FakeObject {
    const found = this.#collections.get(collection)?.get(key);
    if (found === undefined) throw new FakeStatus(404, 'NotFound', `${collection} "${key}" not found`);
    return found;
  }

  create(collection: string, object: FakeObject): FakeObject {
    const key = keyOf(object);
    if (this.#collections.get(collection)?.has(key) === true) {
      throw new FakeStatus(409, 'AlreadyExists', `${collection} "${key}" already exists`);
    }
    const created = new Date().toISOString().replace(/\.\d+/, '');
    const metadata = {
      ...object.metadata,
      uid: object.metadata.uid ?? randomUUID(),
      creationTimestamp: created,
    };
    return this.#put(collection, 'ADDED', { ...object, metadata }, undefined);
  }

  /** @param whenGone what an update of a deleted object is answered with: 404 by newer servers, 409 by older ones */
  update(collection: string, object: FakeObject, whenGone: 404 | 409): FakeObject {
    const key = keyOf(object);
    const before = this.#collections.get(collection)?.get(key);
    if (before === undefined) {
      throw new FakeStatus(whenGone, whenGone === 404 ? 'NotFound' : 'Conflict', `${key} is gone`);
    }
    const { resourceVersion, uid } = object.metadata;
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw new FakeStatus(
        409,
        'Conflict',
        `${key}: the object has been modified; please apply your changes to the latest version`,
      );
    }
    if (uid !== undefined && uid !== before.metadata.uid)
      throw new FakeStatus(409, 'Conflict', `${key}: uid mismatch`);
    const metadata = { ...before.metadata, ...object.metadata };
    return this.#put(collection, 'MODIFIED', { ...object, metadata }, before);
  }

  delete(collection: string, key: string): FakeObject {
    const before = this.get(collection, key);
    this.#collections.get(collection)!.delete(key);
    const object = { ...before, metadata: { ...before.metadata, resourceVersion: String(++this.version) } };
    this.#record({ type: 'DELETED', object, before, version: this.version, collection });
    return object;
  }

  /** Forgets the history: a watch from before and a continuation of before are expired. */
  compact(): void {
    this.compacted = this.version;
    this.#history = [];
  }

  /** Changes since a version. Throws 410 when they are not known any more. */
  since(version: number): readonly FakeEvent[] {
    if (version < this.compacted)
      throw new FakeStatus(410, 'Expired', `too old resource version: ${version} (${this.compacted})`);
    return this.#history.filter((event) => event.version > version);
  }

  subscribe(listener: (event: FakeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #put(
    collection: string,
    type: 'ADDED' | 'MODIFIED',
    object: FakeObject,
    before: FakeObject | undefined,
  ): FakeObject {
    const version = ++this.version;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const objects = this.#collections.get(collection) ?? new Map<string, FakeObject>();
    this.#collections.set(collection, objects);
    objects.set(keyOf(stored), stored);
    this.#record({ type, object: stored, before, version, collection });
    return stored;
  }

  #record(event: FakeEvent): void {
    this.#history.push(event);
    for (const listener of [...this.#listeners]) listener(event);
  }
}

export function keyOf({ metadata }: FakeObject): string {
  return metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
}
