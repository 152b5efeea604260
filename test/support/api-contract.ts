import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import type { ApiClient } from '../../src/kube/api-client.ts';
import { ApiError } from '../../src/kube/api-error.ts';
import { listPages } from '../../src/kube/list.ts';
import { Reflector } from '../../src/kube/reflector.ts';
import {
  type ObjectMark,
  parseWatchEvent,
  type RawObject,
  type WatchEvent,
} from '../../src/kube/watch-event.ts';
import { LineSplitter } from '../../src/kube/watch-lines.ts';

/** An API server in the hands of the contract: the fake one or a real one. */
export interface ApiTarget {
  /** With every right. */
  readonly admin: ApiClient;
  /** Somebody else's way in. */
  as(token: string): ApiClient;
  /** Forgets the history: what is older than now is expired. */
  compact(): Promise<void>;
  /** Kills the server and starts it anew, on the same address. */
  restart(): Promise<void>;
}

/** Nothing takes longer, on a machine ten times slower neither. */
const PATIENCE_MS = 60_000;
const MAPS = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps', optional: false };

/** Waits until something is so. */
export async function eventually(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await sleep(20);
  }
}

/** What the product relies on, of any API server that it meets. */
export function testApiServer(t: Test, subject: string, open: () => Promise<ApiTarget>): void {
  t.test(subject, { timeout: 600_000 }, async (root) => {
    const target = await open();
    const { admin } = target;
    const t = {
      test: (criterion: string, run: (t: Test) => Promise<void>) =>
        root.test(criterion, { timeout: 120_000 }, run),
    };
    const space = async (): Promise<string> => {
      const name = `contract-${randomBytes(4).toString('hex')}`;
      await admin.create('/api/v1/namespaces', { metadata: { name } });
      return name;
    };
    const maps = (namespace: string): string => `/api/v1/namespaces/${namespace}/configmaps`;
    const map = (name: string, data: Record<string, string> = {}, labels = {}): object => ({
      metadata: { name, labels },
      data,
    });

    t.test('a list in chunks has every object once, and its items do not say what they are', async (t) => {
      const namespace = await space();
      for (let index = 0; index < 7; index++) await admin.create(maps(namespace), map(`m${index}`));
      const names: string[] = [];
      let next: string | undefined;
      do {
        const page = (await admin.get(maps(namespace), { limit: '3', continue: next })) as {
          items: { kind?: string; metadata: { name: string } }[];
          metadata: { continue?: string; resourceVersion: string };
        };
        t.match(page.metadata.resourceVersion, /^\d+$/);
        for (const item of page.items) {
          t.equal(item.kind, undefined);
          names.push(item.metadata.name);
        }
        next = page.metadata.continue;
      } while (next !== undefined && next !== '');
      t.strictSame(names.toSorted(), ['m0', 'm1', 'm2', 'm3', 'm4', 'm5', 'm6']);
    });

    t.test('a watch from the version of a list tells of every change behind it, in order', async (t) => {
      const namespace = await space();
      const list = (await admin.get(maps(namespace))) as { metadata: { resourceVersion: string } };
      await admin.create(maps(namespace), map('a', { v: '1' }));
      const events = watching(t, admin, maps(namespace), {
        resourceVersion: list.metadata.resourceVersion,
      });
      await admin.request('PUT', `${maps(namespace)}/a`, { body: map('a', { v: '2' }) });
      await admin.request('DELETE', `${maps(namespace)}/a`);
      const marks = (): ObjectMark[] => events.flatMap((event) => ('at' in event ? event.at : []));
      await eventually('three events are there', () => marks().length === 3);
      const changes = events.filter(({ type }) => type !== 'BOOKMARK');
      t.match(changes, [{ type: 'ADDED' }, { type: 'MODIFIED' }, { type: 'DELETED' }]);
      t.strictSame(
        marks().map(({ key }) => key),
        Array.from({ length: 3 }, () => `${namespace}/a`),
      );
      t.match((changes[0] as { object: RawObject }).object, { kind: 'ConfigMap', apiVersion: 'v1' });
      t.equal(new Set(marks().map(({ uid }) => uid)).size, 1);
      t.equal(new Set(marks().map(({ version }) => version)).size, 3, 'a deletion has a version of its own');
    });

    t.test('an object that leaves the selector of a watch is DELETED to it', async (t) => {
      const namespace = await space();
      const events = watching(t, admin, maps(namespace), { labelSelector: 'app=web', resourceVersion: '0' });
      await admin.create(maps(namespace), map('a', {}, { app: 'web' }));
      const changes = (): string[] => events.flatMap(({ type }) => (type === 'BOOKMARK' ? [] : type));
      await eventually('it is added', () => changes().length === 1);
      await admin.request('PUT', `${maps(namespace)}/a`, { body: map('a', {}, { app: 'db' }) });
      await eventually('it is gone', () => changes().length === 2);
      t.strictSame(changes(), ['ADDED', 'DELETED']);
    });

    t.test('a watch that asks for bookmarks gets one without any change', async (t) => {
      const namespace = await space();
      const events = watching(t, admin, maps(namespace), { timeoutSeconds: '10' });
      await eventually('a bookmark is there', () => events.some(({ type }) => type === 'BOOKMARK'));
      t.match(
        events.find(({ type }) => type === 'BOOKMARK'),
        { version: /^\d+$/ },
      );
    });

    t.test('the list as a watch ends with its bookmark, or is refused with 422', async (t) => {
      const namespace = await space();
      await admin.create(maps(namespace), map('a'));
      const query = { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' };
      const events = watching(t, admin, maps(namespace), query);
      const ended = (event: WatchEvent): boolean => event.type === 'BOOKMARK' && event.initialEventsEnd;
      await eventually('the initial events end', () => events.some(ended) || events.failed !== undefined);
      if (events.failed === undefined) t.match(events, [{ type: 'ADDED' }, { type: 'BOOKMARK' }]);
      else t.match(events.failed, { status: 422, reason: 'Invalid' });
    });

    t.test(
      'the past that was compacted away is 410, and a list over it is complete all the same',
      async (t) => {
        const namespace = await space();
        for (let index = 0; index < 5; index++) await admin.create(maps(namespace), map(`m${index}`));
        const first = (await admin.get(maps(namespace), { limit: '2' })) as {
          metadata: { continue: string; resourceVersion: string };
        };
        await admin.request('PUT', `${maps(namespace)}/m4`, { body: map('m4', { v: '2' }) });
        await target.compact();
        const rest = admin.get(maps(namespace), { limit: '2', continue: first.metadata.continue });
        // Newer servers keep snapshots of lists and may serve the rest.
        await rest.catch((error: unknown) => t.match(error, { status: 410, reason: 'Expired' }));
        const names: string[] = [];
        const version = await listPages(admin, maps(namespace), {}, (items) => {
          if (items === 'anew') names.length = 0;
          else names.push(...items.map((item) => (item['metadata'] as { name: string }).name));
        });
        t.match(version, /^\d+$/);
        t.strictSame(names, ['m0', 'm1', 'm2', 'm3', 'm4']);
        // A server that runs remembers on its own what etcd forgot.
        await target.restart();
        await answers(admin);
        const query = { resourceVersion: '1', timeoutSeconds: '10' };
        await refuses(t, firstEvent(admin, maps(namespace), query), { status: 410 });
      },
    );

    t.test('a name can be taken once: the second who creates it is told 409 AlreadyExists', async (t) => {
      const namespace = await space();
      const secrets = `/api/v1/namespaces/${namespace}/secrets`;
      const secret = (key: string): object => ({ metadata: { name: 'keys' }, stringData: { key } });
      const outcomes = await Promise.allSettled(
        ['1', '2', '3'].map((key) => admin.create(secrets, secret(key))),
      );
      const lost = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
      t.equal(lost.length, 2);
      for (const error of lost) t.match(error, { status: 409, reason: 'AlreadyExists' });
    });

    t.test('an update from an old version is 409 Conflict, one of a deleted object 404 or 409', async (t) => {
      const namespace = await space();
      const path = `${maps(namespace)}/a`;
      const old = (await admin.create(maps(namespace), map('a'))) as RawObject;
      await admin.request('PUT', path, { body: { ...old, data: { v: '1' } } });
      await refuses(t, admin.request('PUT', path, { body: { ...old, data: { v: '2' } } }), {
        status: 409,
        reason: 'Conflict',
      });
      await admin.request('DELETE', path);
      const error = await admin.request('PUT', path, { body: old }).catch((thrown: unknown) => thrown);
      t.ok(error instanceof ApiError && [404, 409].includes(error.status), 'it is not made anew');
      await refuses(t, admin.get(path), { status: 404, reason: 'NotFound' });
    });

    t.test('a merge patch changes what it names, an apply makes or changes the object', async (t) => {
      const namespace = await space();
      await admin.create(maps(namespace), map('a', { one: '1', two: '2' }));
      const patched = await admin.request('PATCH', `${maps(namespace)}/a`, {
        body: { data: { one: null, three: '3' } },
        contentType: 'application/merge-patch+json',
      });
      t.strictSame((patched as { data: object }).data, { two: '2', three: '3' });
      const apply = (value: string): Promise<unknown> =>
        admin.request('PATCH', `${maps(namespace)}/b`, {
          query: { fieldManager: 'contract', force: 'true' },
          body: { apiVersion: 'v1', kind: 'ConfigMap', ...map('b', { value }) },
          contentType: 'application/apply-patch+yaml',
        });
      t.match(await apply('1'), { data: { value: '1' } });
      t.match(await apply('2'), { data: { value: '2' } });
    });

    t.test(
      'a token bound to a pod proves that pod, to its audience, as long as the pod is there',
      async (t) => {
        const { token, uid, remove, namespace } = await podToken(admin, await space(), ['countersign']);
        const right = await review(admin, token, ['countersign']);
        t.match(right, {
          authenticated: true,
          audiences: ['countersign'],
          user: {
            username: `system:serviceaccount:${namespace}:app`,
            extra: {
              'authentication.kubernetes.io/pod-name': ['app-1'],
              'authentication.kubernetes.io/pod-uid': [uid],
            },
          },
        });
        t.match(await review(admin, token, ['somebody-else']), { authenticated: undefined });
        t.match(
          await review(admin, token, []),
          { authenticated: undefined },
          'the API server itself is another audience',
        );
        t.match(await review(admin, `${token.slice(0, -6)}AAAAAA`, ['countersign']), {
          authenticated: undefined,
        });
        await remove();
        // A real server remembers for some ten seconds that it believed a token.
        await eventually('the token of the deleted pod proves nothing', async () => {
          const { authenticated } = await review(admin, token, ['countersign']);
          return authenticated !== true;
        });
      },
    );

    t.test('who has no rights is told 403 and may neither list nor watch, who is nobody 401', async (t) => {
      const namespace = await space();
      const { token } = await podToken(admin, namespace, []);
      const client = target.as(token);
      t.teardown(() => client.close());
      const refused = {
        name: 'ApiError',
        status: 403,
        reason: 'Forbidden',
        message: /cannot list resource "configmaps"/,
      };
      await refuses(t, client.get(maps(namespace)), refused);
      await refuses(t, firstEvent(client, maps(namespace), {}), { status: 403, message: /cannot watch/ });
      const nobody = target.as('rubbish');
      t.teardown(() => nobody.close());
      await refuses(t, nobody.get(maps(namespace)), { status: 401 });
    });

    t.test('what the server does not have is 404', async (t) => {
      await refuses(t, admin.get('/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies'), {
        status: 404,
      });
      await refuses(t, admin.get('/api/v1/namespaces/default/configmaps/nothing'), {
        status: 404,
        reason: 'NotFound',
      });
    });

    t.test('a reflector has what is there, before and after a compaction and a restart', async (t) => {
      const namespace = await space();
      for (let index = 0; index < 3; index++)
        await admin.create(maps(namespace), map(`m${index}`, { v: '1' }));
      let changes = 0;
      const reflector = new Reflector<string>({
        client: admin,
        resource: MAPS,
        namespace,
        reduce: ({ metadata, data }) =>
          `${(metadata as { name: string }).name}=${(data as { v?: string } | undefined)?.v ?? ''}`,
        onChange: () => changes++,
        timing: { backoff: { firstMs: 50, mostMs: 1_000 } },
      });
      t.teardown(() => reflector.close());
      reflector.start();
      const has = (...wanted: string[]): Promise<void> =>
        eventually(
          `there is ${wanted.join(' ')}`,
          () => reflector.values().toSorted().join(' ') === wanted.join(' '),
        );
      await has('m0=1', 'm1=1', 'm2=1');
      await admin.request('PUT', `${maps(namespace)}/m1`, { body: map('m1', { v: '2' }) });
      await admin.request('DELETE', `${maps(namespace)}/m2`);
      await has('m0=1', 'm1=2');
      const before = changes;
      await target.compact();
      await target.restart();
      await answers(admin);
      await eventually('a write succeeds', () =>
        admin.create(maps(namespace), map('m3', { v: '3' })).then(
          () => true,
          (error: unknown) => error instanceof ApiError && error.reason === 'AlreadyExists',
        ),
      );
      await has('m0=1', 'm1=2', 'm3=3');
      t.ok(changes > before);
      t.equal(reflector.problem, undefined);
    });
  });
}

/** A connection that was kept may have died with the server: the first request finds out. */
async function answers(client: ApiClient): Promise<void> {
  await eventually('the server answers', () =>
    client.get('/api/v1/namespaces', { limit: '1' }).then(
      () => true,
      (error: unknown) => !(error instanceof ApiError),
    ),
  );
}

/** What came of a watch, and why it failed. */
type Watched = WatchEvent[] & { failed?: unknown };

/** The events of a watch, as they come. It ends with the test. */
function watching(t: Test, client: ApiClient, path: string, query: Record<string, string>): Watched {
  const events: Watched = [];
  const end = new AbortController();
  t.teardown(() => end.abort());
  const read = async (): Promise<void> => {
    for await (const event of watch(client, path, query, end.signal)) events.push(event);
  };
  void read().catch((error: unknown) => {
    if (!end.signal.aborted) events.failed = error;
  });
  return events;
}

async function firstEvent(
  client: ApiClient,
  path: string,
  query: Record<string, string>,
): Promise<WatchEvent | undefined> {
  for await (const event of watch(client, path, query, new AbortController().signal)) return event;
  return undefined;
}

async function* watch(client: ApiClient, path: string, query: Record<string, string>, signal: AbortSignal) {
  const whole = { watch: 'true', allowWatchBookmarks: 'true', ...query };
  const body = await client.stream(path, whole, PATIENCE_MS, signal);
  const lines = new LineSplitter();
  for await (const chunk of body as AsyncIterable<Buffer>) {
    for (const line of lines.push(chunk)) yield parseWatchEvent(line);
  }
}

interface Review {
  readonly authenticated?: boolean;
  readonly audiences?: string[];
  readonly user?: { readonly username?: string; readonly extra?: Record<string, string[]> };
}

/** What a TokenReview says. `authenticated` is left out, or false, when the token proves nothing. */
async function review(client: ApiClient, token: string, audiences: string[]): Promise<Review> {
  const { status } = (await client.create('/apis/authentication.k8s.io/v1/tokenreviews', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token, audiences },
  })) as { status: Review };
  const { authenticated, ...rest } = status;
  return authenticated === true ? { authenticated, ...rest } : rest;
}

/** Makes a pod `app-1` of service account `app`, and a token bound to it. */
export async function podToken(
  admin: ApiClient,
  namespace: string,
  audiences: readonly string[],
): Promise<{ token: string; uid: string; namespace: string; remove: () => Promise<void> }> {
  const place = `/api/v1/namespaces/${namespace}`;
  await admin.create(`${place}/serviceaccounts`, { metadata: { name: 'app' } });
  const pod = (await admin.create(`${place}/pods`, {
    metadata: { name: 'app-1', labels: { app: 'web' } },
    spec: {
      serviceAccountName: 'app',
      automountServiceAccountToken: false,
      nodeName: 'node-1',
      containers: [{ name: 'app', image: 'none' }],
    },
  })) as { metadata: { uid: string } };
  const { uid } = pod.metadata;
  const { status } = (await admin.create(`${place}/serviceaccounts/app/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: { audiences, boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'app-1', uid } },
  })) as { status: { token: string } };
  const remove = async (): Promise<void> => {
    await admin.request('DELETE', `${place}/pods/app-1`, { body: { gracePeriodSeconds: 0 } });
  };
  return { token: status.token, uid, namespace, remove };
}

/** That an {@link ApiError} comes, and that it says so much. */
async function refuses(t: Test, answer: Promise<unknown>, wanted: object): Promise<void> {
  const error: unknown = await answer.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  t.match(error, { name: 'ApiError', ...wanted });
}
