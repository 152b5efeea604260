import type { SharedContents, SharedObject } from '../rotation/shared-object.ts';
import type { ObjectChange } from '../sources/cluster-contents.ts';
import type { ClusterObject } from '../sources/objects.ts';

/** Requests to the API server, as `ApiClient` makes them: JSON in and out; errors carry the HTTP status in `status`. */
export interface KubeRequests {
  request(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    options?: { readonly body?: unknown; readonly query?: Readonly<Record<string, string | undefined>> },
  ): Promise<unknown>;
}

/** The cluster, followed, as `ClusterWatch` does it. */
export interface ClusterFeed {
  /** undefined: it has not been seen whole yet. */
  readonly state: object | undefined;
  objects(): Iterable<ClusterObject>;
  /** When the state was last known to be the newest, milliseconds since the epoch. */
  readonly confirmedAt: number | undefined;
  /** Calls with what differs from the last state; the first one consists of nothing else. */
  subscribe(listener: (changes: readonly ObjectChange[]) => void): () => void;
}

/** The HTTP status of a failed request; 0 where there was no answer. */
export function statusOf(error: unknown): number {
  const { status } = (error ?? {}) as { status?: unknown };
  return typeof status === 'number' ? status : 0;
}

interface ObjectPlace {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly namespace: string;
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const MANAGED = { 'app.kubernetes.io/managed-by': 'countersign' };

/** A Secret or ConfigMap as replicas share it. */
export function kubeObject(kube: KubeRequests, place: ObjectPlace): SharedObject {
  const { kind, namespace, name } = place;
  const list = `/api/v1/namespaces/${namespace}/${kind.toLowerCase()}s`;
  const bodyOf = (data: Readonly<Record<string, string>>, version?: string): object => ({
    apiVersion: 'v1',
    kind,
    metadata: {
      namespace,
      name,
      labels: { ...MANAGED, ...place.labels },
      ...(version === undefined ? {} : { resourceVersion: version }),
    },
    ...(kind === 'Secret' ? { type: 'Opaque', data: mapValues(data, toBase64) } : { data }),
  });
  return {
    name: `${kind.toLowerCase()}/${namespace}/${name}`,
    read: async () => {
      try {
        return contentsOf(kind, await kube.request('GET', `${list}/${name}`));
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    },
    create: async (data) => unless(409, kube.request('POST', list, { body: bodyOf(data) })),
    // 404: somebody deleted it, so it is to be made anew.
    replace: async (data, version) =>
      unless(409, kube.request('PUT', `${list}/${name}`, { body: bodyOf(data, version) }), 404),
  };
}

/** Reads a Secret or ConfigMap as the API serves it. */
export function contentsOf(kind: ObjectPlace['kind'], object: unknown): SharedContents {
  const { metadata, data } = object as {
    metadata?: { resourceVersion?: string };
    data?: Record<string, string> | null;
  };
  const plain = data ?? {};
  return {
    data: kind === 'Secret' ? mapValues(plain, fromBase64) : plain,
    version: metadata?.resourceVersion ?? '',
  };
}

async function unless(status: number, done: Promise<unknown>, other = status): Promise<boolean> {
  try {
    await done;
    return true;
  } catch (error) {
    if (statusOf(error) === status || statusOf(error) === other) return false;
    throw error;
  }
}

function mapValues(data: Readonly<Record<string, string>>, map: (value: string) => string) {
  return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, map(value)]));
}

function toBase64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function fromBase64(text: string): string {
  return Buffer.from(text, 'base64').toString();
}
