import t, { type Test } from 'tap';
import { Reflector, type ReflectorTiming } from '../../src/kube/reflector.ts';
import { PODS } from '../../src/kube/resources.ts';
import { eventually } from '../support/api-contract.ts';
import { FakeApiServer, type FakeOptions } from '../support/fake-api-server.ts';
import type { FakeRequest } from '../support/fake-faults.ts';
import type { FakeObject } from '../support/fake-store.ts';

const pod = (name: string, app = 'web'): FakeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', labels: { app } },
});

t.setTimeout(600_000);

const QUICK: Partial<ReflectorTiming> = {
  backoff: { firstMs: 10, mostMs: 100 },
  silenceMs: 1_000,
  absentMs: 50,
};

/** A fake API server with two pods, and a reflector of the pods. */
async function setUp(t: Test, options: FakeOptions & { timing?: Partial<ReflectorTiming> } = {}) {
  const server = await new FakeApiServer({ bookmarkMs: 100, ...options }).start();
  const client = server.client({ answerMs: 1_000, pauseMs: 1_000 });
  server.put(pod('a'));
  server.put(pod('b'));
  const seen: string[] = [];
  const reflector = new Reflector<string>({
    client,
    resource: PODS,
    reduce: ({ metadata }) => {
      const { name, labels } = metadata as { name: string; labels: { app: string } };
      return `${name}=${labels.app}`;
    },
    onChange: () => seen.push(reflector.values().toSorted().join(' ')),
    timing: { ...QUICK, ...options.timing },
  });
  t.teardown(async () => {
    await reflector.close();
    await client.close();
    await server.close();
  });
  const has = (wanted: string): Promise<unknown> =>
    eventually(`there is ${wanted}`, () => reflector.values().toSorted().join(' ') === wanted).then(() =>
      t.pass(`there is ${wanted}`),
    );
  const synced = async (): Promise<void> => {
    reflector.start();
    await has('a=web b=web');
    await eventually('it watches', () => server.watches.size === 1);
  };
  const watch = () => [...server.watches][0]!;
  return { server, reflector, seen, has, synced, watch };
}

const isWatch = ({ watch }: FakeRequest): boolean => watch;
const isList = ({ watch }: FakeRequest): boolean => !watch;

for (const level of ['oldest', 'current'] as const) {
  t.test(`reflector: lists and follows an API server of the ${level} Kubernetes`, async (t) => {
    const { server, seen, has, synced } = await setUp(t, { level });
    await synced();
    server.put(pod('c'));
    await has('a=web b=web c=web');
    server.put(pod('b', 'db'));
    server.remove(pod('a'));
    await has('b=db c=web');
    t.equal(seen[0], 'a=web b=web', 'the first that is told is the whole list');
    const lists = server.requests.filter((line) => !line.includes('watch=true'));
    t.equal(lists.length, level === 'oldest' ? 1 : 0, 'a server that can sends the list as a watch');
  });
}

t.test('reflector: an object that says the same is told of once', async (t) => {
  const { server, seen, has, synced } = await setUp(t);
  await synced();
  const before = seen.length;
  for (let heartbeat = 0; heartbeat < 5; heartbeat++) server.put({ ...pod('a'), status: { heartbeat } });
  server.put(pod('c'));
  await has('a=web b=web c=web');
  t.equal(seen.length, before + 1);
});

t.test('reflector: watches that break are had again, and nothing between is lost', async (t) => {
  const { server, reflector, has, synced, watch } = await setUp(t);
  await synced();
  const breaks: Record<string, () => void> = {
    'a reset': () => watch().reset(),
    "the server's own end": () => watch().end(),
    'half an event and the end': () => watch().truncate(),
    'half an event and a reset': () => watch().truncate(true),
    '410 in the watch': () => watch().expire(),
    '410 in the watch after a compaction': () => {
      server.store.compact();
      watch().expire();
    },
    'rubbish instead of an event': () => watch().send({ type: 'MODIFIED', object: null }),
    'an error instead of an event': () => watch().send({ type: 'ERROR', object: { code: 500 } }),
  };
  let round = 0;
  for (const [how, breakIt] of Object.entries(breaks)) {
    await eventually('it watches', () => server.watches.size === 1);
    const broken = watch();
    breakIt();
    server.put(pod('b', `round-${++round}`));
    await has(`a=web b=round-${round}`);
    await eventually(
      `another watch is there after ${how}`,
      () => server.watches.size === 1 && watch() !== broken,
    );
    await eventually('all is well', () => reflector.problem === undefined);
    t.pass(how);
  }
});

t.test('reflector: what is deleted while nobody watches is gone after the next list', async (t) => {
  const { server, has, synced } = await setUp(t);
  await synced();
  await server.stop();
  server.remove(pod('a'));
  server.store.compact();
  server.put(pod('d'));
  await server.start();
  await has('b=web d=web');
});

t.test('reflector: a connection that is half-open is given up, because bookmarks are missing', async (t) => {
  const { server, has, synced, watch } = await setUp(t);
  await synced();
  const dead = watch();
  dead.silent = true;
  server.put(pod('b', 'later'));
  await has('a=web b=later');
  t.not(watch(), dead);
});

t.test('reflector: a quiet kind is not given up as long as bookmarks come', async (t) => {
  const { server, reflector, synced, watch } = await setUp(t, { timing: { silenceMs: 2_000 } });
  await synced();
  const first = watch();
  const { confirmedAt } = reflector;
  await eventually('bookmarks came for twice the time', () => reflector.confirmedAt! > confirmedAt! + 4_000);
  t.equal(watch(), first);
  t.equal(server.watches.size, 1);
});

t.test('reflector: an answer that never comes is given up', async (t) => {
  const { server, reflector, has } = await setUp(t, { level: 'oldest' });
  server.faults.add({ kind: 'silence' }, isList);
  server.faults.add({ kind: 'silence' }, isWatch);
  reflector.start();
  await has('a=web b=web');
});

t.test('reflector: failures are told with the remedy, leave everything as it was, and end', async (t) => {
  const { server, reflector, seen, has, synced, watch } = await setUp(t);
  await synced();
  const failures: [number, RegExp][] = [
    [500, /Pod: a fault of the test: 500/],
    [503, /Pod: a fault of the test: 503/],
    [403, /allow list and watch on pods in all namespaces with RBAC/],
    [401, /does not believe the token/],
    [404, /Pod: a fault of the test: 404/],
  ];
  for (const [status, told] of failures) {
    const cease = server.faults.add({ kind: 'status', status }, () => true, 1_000);
    watch().reset();
    await eventually(`${status} is told`, () => told.test(reflector.problem ?? ''));
    t.equal(reflector.values().length, 2, 'the last state stays');
    cease();
    await eventually(
      'it is told of no more',
      () => reflector.problem === undefined && server.watches.size === 1,
    );
  }
  await has('a=web b=web');
  t.strictSame([...new Set(seen)], ['a=web b=web'], 'nothing else was ever said');
});

t.test('reflector: who asks too much waits as long as the server says', async (t) => {
  const { server, reflector, synced, watch } = await setUp(t);
  await synced();
  server.faults.add({ kind: 'status', status: 429, retryAfter: 1 }, isWatch);
  // From before the refusal: however late this process notices it, the wait is within.
  const at = performance.now();
  watch().reset();
  await eventually('429 is told', () => reflector.problem !== undefined);
  const asked = server.requests.length;
  await eventually('it asks again', () => server.requests.length > asked);
  t.ok(performance.now() - at > 500, 'not with its own short back-off');
});

t.test('reflector: a server that fails is asked less and less often', async (t) => {
  const { server, reflector } = await setUp(t, { timing: { backoff: { firstMs: 20, mostMs: 60_000 } } });
  server.faults.add({ kind: 'status', status: 500 }, () => true, 1_000);
  const times: number[] = [];
  let known = 0;
  reflector.start();
  await eventually('it has asked eight times', () => {
    if (server.requests.length > known) times.push(performance.now());
    known = server.requests.length;
    return times.length >= 8;
  });
  t.ok(times[7]! - times[6]! > 8 * (times[1]! - times[0]!) || times[7]! - times[6]! > 500);
});

t.test('reflector: a watch that ends at once every time is not had again without a pause', async (t) => {
  const { server, synced, watch } = await setUp(t, { timing: { backoff: { firstMs: 50, mostMs: 60_000 } } });
  await synced();
  for (let round = 0; round < 5; round++) {
    const ended = watch();
    ended.end();
    await eventually('it is had again', () => server.watches.size === 1 && watch() !== ended);
  }
  const [began, last] = [performance.now(), watch()];
  last.end();
  await eventually('it is had again', () => server.watches.size === 1 && watch() !== last);
  t.ok(performance.now() - began > 400);
});

t.test('reflector: long lists come in chunks, and are complete when a chunk has expired', async (t) => {
  const { server, reflector, seen } = await setUp(t, { level: 'oldest' });
  for (let index = 0; index < 1_200; index++) server.put(pod(`p${index}`));
  const second = ({ query, watch }: FakeRequest): boolean => !watch && query.has('continue');
  server.faults.add({ kind: 'status', status: 410 }, second);
  reflector.start();
  await eventually('all are there', () => reflector.values().length === 1_202);
  t.equal(seen.length, 1, 'half a list is never told');
  const lists = server.requests.filter((line) => !line.includes('watch=true'));
  t.equal(lists.length, 5, 'one and the expired one, then three');
  for (const line of lists) t.match(line, /limit=500/);
});

t.test('reflector: chunks that expire every time end in one whole list', async (t) => {
  const { server, reflector } = await setUp(t, { level: 'oldest' });
  for (let index = 0; index < 600; index++) server.put(pod(`p${index}`));
  server.faults.add({ kind: 'status', status: 410 }, ({ query }) => query.has('continue'), 1_000);
  reflector.start();
  await eventually('all are there', () => reflector.values().length === 602);
});

t.test('reflector: a list that is cut off is no list', async (t) => {
  const { server, reflector, seen, has } = await setUp(t, { level: 'oldest' });
  server.faults.add({ kind: 'truncated', bytes: 120 }, isList, 2);
  server.faults.add({ kind: 'status', status: 200, body: '{"items":[{}]}' }, isList);
  server.faults.add({ kind: 'status', status: 200, body: '<html>' }, isList);
  server.faults.add({ kind: 'slow', pieceBytes: 40, pauseMs: 5 }, isList);
  reflector.start();
  await has('a=web b=web');
  t.strictSame([...new Set(seen)], ['', 'a=web b=web']);
});

t.test('reflector: the list as a watch that breaks before its end is no list', async (t) => {
  const { server, reflector, seen, has } = await setUp(t);
  // The watch ends with its time-out before anything is sent.
  server.faults.add(
    {
      kind: 'status',
      status: 200,
      body: '{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5","labels":{"app":"x"}}}}\n',
    },
    isWatch,
  );
  reflector.start();
  await has('a=web b=web');
  t.notOk(seen.includes('a=x'));
});

t.test('reflector: a kind that the cluster does not have is empty until it has it', async (t) => {
  const server = await new FakeApiServer({ level: 'oldest' }).start();
  const client = server.client();
  const resource = {
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'X',
    plural: 'xs',
    optional: true,
  };
  const reflector = new Reflector<string>({
    client,
    resource,
    reduce: () => 'x',
    onChange: () => {},
    timing: QUICK,
  });
  t.teardown(async () => {
    await reflector.close();
    await client.close();
    await server.close();
  });
  reflector.start();
  await eventually('it is known to be empty', () => reflector.synced);
  const asked = server.requests.length;
  await eventually('it is looked for again', () => server.requests.length > asked);
  t.equal(reflector.problem, undefined);
  t.strictSame(reflector.values(), []);
});

t.test('reflector: closing ends it at once, whatever it waits for', async (t) => {
  const { server, reflector, synced } = await setUp(t);
  await synced();
  await reflector.close();
  await eventually('the server sees it', () => server.watches.size === 0);
  const silent = await setUp(t);
  silent.server.faults.add({ kind: 'silence' });
  silent.reflector.start();
  await eventually('it has asked', () => silent.server.requests.length > 0);
  await silent.reflector.close();
  t.notOk(silent.reflector.synced);
});
