import type { FakeWatch } from './fake-faults.ts';
import { type FakeEvent, type FakeObject, FakeStatus, type FakeStore, keyOf } from './fake-store.ts';
import type { FakeTokens, FakeUser } from './fake-tokens.ts';

/** `oldest`: Kubernetes 1.29, with its feature gates as they come. `current`: 1.34 and newer. */
export type FakeLevel = 'oldest' | 'current';

interface FakeKind {
  readonly apiVersion: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const kind = (apiVersion: string, name: string, plural: string, namespaced = true): FakeKind => ({
  apiVersion,
  kind: name,
  plural,
  namespaced,
});

const KINDS: readonly FakeKind[] = [
  kind('v1', 'Namespace', 'namespaces', false),
  kind('v1', 'Node', 'nodes', false),
  kind('v1', 'Pod', 'pods'),
  kind('v1', 'Service', 'services'),
  kind('v1', 'Secret', 'secrets'),
  kind('v1', 'ConfigMap', 'configmaps'),
  kind('v1', 'ServiceAccount', 'serviceaccounts'),
  kind('v1', 'Event', 'events'),
  kind('coordination.k8s.io/v1', 'Lease', 'leases'),
  kind('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices'),
  kind('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  kind('networking.k8s.io/v1', 'ServiceCIDR', 'servicecidrs', false),
  kind('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles', false),
  kind('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings', false),
  kind(
    'admissionregistration.k8s.io/v1',
    'MutatingWebhookConfiguration',
    'mutatingwebhookconfigurations',
    false,
  ),
];

interface Place {
  readonly kind: FakeKind;
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

type Allows = (user: FakeUser, verb: string, collection: string, namespace: string | undefined) => boolean;

/** What an API server makes of requests, on top of the store. Throws {@link FakeStatus} for whatever it refuses. */
export class FakeApi {
  readonly #store: FakeStore;
  readonly #tokens: FakeTokens;
  readonly #level: FakeLevel;
  readonly #allows: Allows;

  constructor(store: FakeStore, tokens: FakeTokens, level: FakeLevel, allows: Allows) {
    this.#store = store;
    this.#tokens = tokens;
    this.#level = level;
    this.#allows = allows;
  }

  put(object: FakeObject): FakeObject {
    const collection = this.#collectionOf(object);
    const there = this.#store.list(collection).find((one) => keyOf(one) === keyOf(object));
    if (there === undefined) return this.#store.create(collection, object);
    const { resourceVersion: _, ...metadata } = object.metadata;
    return this.#store.update(collection, { ...object, metadata }, 404);
  }

  remove(object: FakeObject): void {
    this.#store.delete(this.#collectionOf(object), keyOf(object));
  }

  handle(
    method: string,
    url: URL,
    body: Record<string, unknown>,
    contentType: string,
    user: FakeUser,
  ): { status: number; value: object } {
    if (method === 'POST' && url.pathname === '/apis/authentication.k8s.io/v1/tokenreviews') {
      this.#demand(user, 'create', 'authentication.k8s.io/v1 tokenreviews', undefined);
      return { status: 201, value: this.#tokens.review(body) };
    }
    const place = this.#place(url.pathname);
    const { collection, namespace, name, subresource } = place;
    const verb = VERBS[method] ?? 'get';
    this.#demand(user, method === 'GET' && name === undefined ? 'list' : verb, collection, namespace);
    if (subresource === 'token' && method === 'POST' && collection === 'v1 serviceaccounts') {
      return { status: 201, value: this.#tokens.request(namespace!, name!, body) };
    }
    if (subresource !== undefined) throw notFound();
    if (name === undefined) {
      if (method === 'GET') return { status: 200, value: this.#list(place, url.searchParams) };
      if (method !== 'POST')
        throw new FakeStatus(405, 'MethodNotAllowed', 'the server does not allow this method');
      return { status: 201, value: this.#store.create(collection, this.#whole(place, body)) };
    }
    const key = namespace === undefined ? name : `${namespace}/${name}`;
    switch (method) {
      case 'GET':
        return { status: 200, value: this.#store.get(collection, key) };
      case 'PUT': {
        const whenGone = this.#level === 'current' ? 404 : 409;
        return { status: 200, value: this.#store.update(collection, this.#whole(place, body), whenGone) };
      }
      case 'PATCH':
        return this.#patch(place, key, body, contentType);
      case 'DELETE':
        return { status: 200, value: this.#store.delete(collection, key) };
      default:
        throw new FakeStatus(405, 'MethodNotAllowed', 'the server does not allow this method');
    }
  }

  /** Prepares a watch; `start` sends what there is and what comes. */
  watch(
    url: URL,
    user: FakeUser,
    watch: FakeWatch,
  ): { kind: string; apiVersion: string; bookmarks: boolean; start: () => () => void } {
    const { kind, collection, namespace } = this.#place(url.pathname);
    this.#demand(user, 'watch', collection, namespace);
    const query = url.searchParams;
    const bookmarks = query.get('allowWatchBookmarks') === 'true';
    const initial = query.get('sendInitialEvents') === 'true';
    if (initial && this.#level === 'oldest') {
      throw new FakeStatus(
        422,
        'Invalid',
        'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      );
    }
    if (initial && query.get('resourceVersionMatch') !== 'NotOlderThan') {
      throw new FakeStatus(
        422,
        'Invalid',
        'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      );
    }
    const matches = matcher(query, namespace);
    const asked = query.get('resourceVersion');
    const send = ({ type, object, before }: Pick<FakeEvent, 'type' | 'object' | 'before'>): void => {
      const [is, was] = [type !== 'DELETED' && matches(object), before !== undefined && matches(before)];
      if (is) watch.send({ type: was ? 'MODIFIED' : 'ADDED', object });
      else if (was) watch.send({ type: 'DELETED', object });
    };
    const start = (): (() => void) => {
      if (initial || asked === null || asked === '' || asked === '0') {
        for (const object of this.#store.list(collection)) send({ type: 'ADDED', object, before: undefined });
        const end = { 'k8s.io/initial-events-end': 'true' };
        if (initial && bookmarks) watch.bookmark(kind.kind, kind.apiVersion, this.#store.version, end);
      } else {
        try {
          const missed = this.#store.since(Number(asked)).filter((event) => event.collection === collection);
          for (const event of missed) send(event);
        } catch {
          watch.expire();
          return () => {};
        }
      }
      return this.#store.subscribe((event) => {
        if (event.collection === collection) send(event);
      });
    };
    return { kind: kind.kind, apiVersion: kind.apiVersion, bookmarks, start };
  }

  #list({ kind, collection, namespace }: Place, query: URLSearchParams): object {
    const limit = Number(query.get('limit') ?? 0);
    let from = 0;
    let version = this.#store.version;
    const token = query.get('continue');
    if (token !== null && token !== '') {
      ({ from, version } = JSON.parse(Buffer.from(token, 'base64url').toString()) as {
        from: number;
        version: number;
      });
      // Newer servers keep snapshots of their lists and serve the rest for a while.
      if (version < this.#store.compacted && this.#level === 'oldest') {
        throw new FakeStatus(
          410,
          'Expired',
          'The provided continue parameter is too old to display a consistent list result.',
        );
      }
    }
    const all = this.#store.list(collection).filter(matcher(query, namespace));
    const more = limit > 0 && from + limit < all.length;
    const next = Buffer.from(JSON.stringify({ from: from + limit, version })).toString('base64url');
    const items = all.slice(from, more ? from + limit : undefined);
    return {
      kind: `${kind.kind}List`,
      apiVersion: kind.apiVersion,
      metadata: {
        resourceVersion: String(version),
        ...(more ? { continue: next, remainingItemCount: all.length - from - limit } : {}),
      },
      // As a real server does: an item of a list does not say what it is.
      items: items.map(({ kind: _kind, apiVersion: _version, ...item }) => item),
    };
  }

  #patch(
    place: Place,
    key: string,
    body: Record<string, unknown>,
    contentType: string,
  ): { status: number; value: object } {
    const there = this.#store.list(place.collection).find((one) => keyOf(one) === key);
    if (contentType.startsWith('application/apply-patch')) {
      const whole = this.#whole(place, body);
      if (there === undefined) return { status: 201, value: this.#store.create(place.collection, whole) };
      const applied = merged(there, whole) as FakeObject;
      return { status: 200, value: this.#store.update(place.collection, applied, 404) };
    }
    if (!contentType.startsWith('application/merge-patch+json')) {
      throw new FakeStatus(
        415,
        'UnsupportedMediaType',
        `the body of the request was in an unknown format: ${contentType}`,
      );
    }
    const before = there ?? this.#store.get(place.collection, key);
    return {
      status: 200,
      value: this.#store.update(place.collection, merged(before, body) as FakeObject, 404),
    };
  }

  #whole({ kind, namespace, name }: Place, body: Record<string, unknown>): FakeObject {
    const { metadata } = body as { metadata?: { name?: string } };
    const named = metadata?.name ?? name;
    if (named === undefined)
      throw new FakeStatus(422, 'Invalid', 'metadata.name: Required value: name or generateName is required');
    if (name !== undefined && named !== name)
      throw new FakeStatus(400, 'BadRequest', 'the name of the object does not match the name on the URL');
    return {
      ...body,
      apiVersion: kind.apiVersion,
      kind: kind.kind,
      metadata: { ...metadata, name: named, ...(namespace === undefined ? {} : { namespace }) },
    };
  }

  #place(path: string): Place {
    const match =
      /^\/(?:api\/(v1)|apis\/([^/]+\/[^/]+))(?:\/namespaces\/([^/]+))?\/([a-z]+)(?:\/([^/]+))?(?:\/([a-z]+))?$/.exec(
        path,
      ) ?? /^\/(?:api\/(v1))()()\/(namespaces)\/([^/]+)()$/.exec(path);
    const apiVersion = match?.[1] ?? match?.[2];
    const found = KINDS.find((one) => one.apiVersion === apiVersion && one.plural === match?.[4]);
    const absent = found?.kind === 'ServiceCIDR' && this.#level === 'oldest';
    if (match === null || found === undefined || absent) throw notFound();
    const decoded = (text: string | undefined): string | undefined =>
      text === undefined || text === '' ? undefined : decodeURIComponent(text);
    return {
      kind: found,
      collection: `${found.apiVersion} ${found.plural}`,
      namespace: decoded(match[3]),
      name: decoded(match[5]),
      subresource: decoded(match[6]),
    };
  }

  #collectionOf(object: FakeObject): string {
    const found = KINDS.find((one) => one.kind === object.kind && one.apiVersion === object.apiVersion);
    if (found === undefined)
      throw new Error(`the fake API server knows no ${object.apiVersion} ${object.kind}`);
    return `${found.apiVersion} ${found.plural}`;
  }

  #demand(user: FakeUser, verb: string, collection: string, namespace: string | undefined): void {
    if (this.#allows(user, verb, collection, namespace)) return;
    const [version = '', plural = ''] = collection.split(' ');
    const group = version.includes('/') ? version.split('/')[0] : '';
    const where = namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
    const message = `${plural} is forbidden: User "${user.username}" cannot ${verb} resource "${plural}" in API group "${group}" ${where}`;
    throw new FakeStatus(403, 'Forbidden', message);
  }
}

const VERBS: Readonly<Record<string, string>> = {
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

function notFound(): FakeStatus {
  return new FakeStatus(404, 'NotFound', 'the server could not find the requested resource');
}

/** `fieldSelector` and `labelSelector`, as far as equality goes. */
function matcher(query: URLSearchParams, namespace: string | undefined): (object: FakeObject) => boolean {
  const terms = (name: string): [string, string][] =>
    (query.get(name) ?? '')
      .split(',')
      .filter((term) => term !== '')
      .map((term) => term.split(/==?/) as [string, string]);
  const [fields, labels] = [terms('fieldSelector'), terms('labelSelector')];
  const at = (object: unknown, path: string): unknown =>
    path
      .split('.')
      .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], object);
  return (object) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    fields.every(([path, value]) => (at(object, path) ?? '') === value) &&
    labels.every(([key, value]) => object.metadata.labels?.[key] === value);
}

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {};
  const result = base as Record<string, unknown>;
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}
