import fc from 'fast-check';
import t from 'tap';
import type { ClusterFeed } from '../../src/authority/kube-access.ts';
import { PendingQuestions } from '../../src/authority/pending-questions.ts';
import { Streams } from '../../src/authority/streams.ts';
import { parseServerMessage } from '../../src/authority-protocol/messages.ts';
import type { ObjectChange } from '../../src/sources/cluster-contents.ts';
import { until } from '../support/until.ts';
import { changesBetween, cluster, NODE, rawNamespace, rawPod, rawPolicy } from './cluster.ts';

const PODS = Array.from({ length: 60 }, (_, index) =>
  rawPod(`pod-${index}`, { address: `10.1.0.${index + 2}`, labels: { app: `app-${index}` } }),
);
const SHOP = [rawNamespace('shop'), NODE];
/** The policies of one namespace are looked at by all its pods: each pod of this test stands in its own. */
const OWN = PODS.map((_, index) => rawNamespace(`ns-${index}`));

/** Streams of many pods on a cluster in the hands of a test, which counts the slices that are made. */
function world() {
  let objects = cluster(...SHOP, ...OWN, ...PODS);
  const listeners = new Set<(changes: readonly ObjectChange[]) => void>();
  const feed: ClusterFeed = {
    state: {},
    objects: () => objects,
    confirmedAt: 1_000_000,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const keyed = { trust: { keys: [] } as object, authorities: 'PEM', marks: new Map<string, number>() };
  const counts = new Map<string, string>();
  const ended: string[] = [];
  let looks = 0;
  const streams = new Streams({
    feed,
    release: 'test',
    trust: () => keyed.trust,
    authorities: () => keyed.authorities,
    // Asked for once whenever a stream is looked at, and once by every refresh.
    marks: () => (looks++, new Map(keyed.marks)),
    keyOf: (uid) => counts.get(uid),
  });
  const lines = new Map<string, string[]>();
  const hear = new Map<string, (line: string) => void>();
  const looksOf = (change: () => void): number => {
    looks = 0;
    for (const said of lines.values()) said.length = 0;
    change();
    return looks;
  };
  return {
    streams,
    keyed,
    counts,
    ended,
    looksOf,
    open: (uid: string): void => {
      lines.set(uid, []);
      const port = {
        write: (line: string) => (lines.get(uid)!.push(line), 0),
        end: (code: string) => void ended.push(`${uid} ${code}`),
      };
      hear.set(uid, streams.open(uid, 'first', port).onLine);
    },
    ask: (uid: string, addresses: readonly string[]): void =>
      hear.get(uid)!(JSON.stringify({ type: 'ask', addresses, peers: [], drop: [] })),
    become: (...raws: readonly object[]): void => {
      const before = objects;
      objects = cluster(...raws);
      for (const listener of listeners) listener(changesBetween(before, objects));
    },
    answered: (uid: string): Set<string> =>
      new Set(
        lines.get(uid)!.flatMap((line) => (JSON.parse(line) as { answered?: string[] }).answered ?? []),
      ),
    heard: (): string[] =>
      [...lines].flatMap(([uid, said]) =>
        said.some((line) => (parseServerMessage(line) as { type?: string }).type === 'state') ? [uid] : [],
      ),
  };
}

t.test('streams: a look at keys and records that say the same looks at no stream', (t) => {
  const { streams, keyed, looksOf, open, heard } = world();
  t.teardown(() => streams.close());
  for (let index = 0; index < PODS.length; index++) open(`uid-pod-${index}`);
  streams.refresh();
  t.equal(
    looksOf(() => streams.refresh()),
    1,
    'its own',
  );
  keyed.trust = { keys: ['another'] };
  t.equal(
    looksOf(() => streams.refresh()),
    1 + PODS.length,
    'another trust bundle concerns all',
  );
  t.equal(heard().length, PODS.length);
  keyed.authorities = 'PEM 2';
  t.equal(
    looksOf(() => streams.refresh()),
    1 + PODS.length,
    'so do certificates',
  );
  t.equal(
    looksOf(() => streams.refresh()),
    1,
  );
  t.end();
});

t.test('streams: a mark looks at the streams that know the pod, and a label of a pod at no other', (t) => {
  const { streams, keyed, looksOf, open, ask, become, heard } = world();
  t.teardown(() => streams.close());
  for (let index = 0; index < PODS.length; index++) open(`uid-pod-${index}`);
  ask('uid-pod-7', ['10.1.0.2']);
  streams.refresh();
  keyed.marks.set('uid-pod-0', 1_000);
  t.equal(
    looksOf(() => streams.refresh()),
    1 + 2,
    'its own stream, and that of who asked about it',
  );
  t.strictSame(heard().toSorted(), ['uid-pod-0', 'uid-pod-7']);
  const relabelled = rawPod('pod-0', { address: '10.1.0.2', labels: { app: 'new' } });
  t.equal(
    looksOf(() => become(...SHOP, ...OWN, relabelled, ...PODS.slice(1))),
    2,
  );
  t.strictSame(heard().toSorted(), ['uid-pod-0', 'uid-pod-7']);
  t.equal(
    looksOf(() => become(...SHOP, ...OWN, relabelled, ...PODS.slice(1), rawPolicy('p', {}, 'ns-3'))),
    0,
    'a policy of a namespace in which nobody of them is',
  );
  t.end();
});

t.test(
  'streams: a stream ends when another key replaces that of whoever opened it, and no other one',
  (t) => {
    const { streams, keyed, counts, ended, open } = world();
    t.teardown(() => streams.close());
    for (const uid of ['uid-pod-0', 'uid-pod-1']) {
      counts.set(uid, 'first');
      open(uid);
    }
    streams.refresh();
    keyed.marks.set('uid-pod-1', 1_000);
    streams.refresh();
    t.strictSame(ended, [], 'a mark over what the same key had before ends nothing');
    counts.set('uid-pod-0', 'second');
    keyed.marks.set('uid-pod-0', 1_000);
    streams.refresh();
    t.strictSame(ended, ['uid-pod-0 identity-invalid']);
    t.end();
  },
);

t.test('streams: whoever asks without end is answered with all that he asked, in a few looks', async (t) => {
  const { streams, looksOf, open, ask, answered } = world();
  t.teardown(() => streams.close());
  open('uid-pod-0');
  const many = Array.from({ length: 4_000 }, (_, index) => `10.2.${index >> 8}.${index & 255}`);
  const asks = 60;
  const looks = looksOf(() => {
    for (let round = 0; round < asks; round++) ask('uid-pod-0', [...many, `10.3.0.${round}`]);
  });
  t.ok(looks < asks / 2, `${looks} looks for ${asks} questions that came at once`);
  await until('all is answered', () => answered('uid-pod-0').size === many.length + asks);
});

t.test('pending questions: what waits means the same as one question after the other', (t) => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  const names = fc.uniqueArray(name);
  const question = fc.record({ addresses: names, peers: names, drop: names });
  fc.assert(
    fc.property(fc.array(question), names, (questions, before) => {
      const peer = (uid: string, at: number) => ({ pod: `shop/${uid}`, uid, issuedAt: at });
      const all = questions.map(({ addresses, peers, drop }, at) => ({
        addresses: addresses.map((one) => `address ${one}`),
        peers: peers.map((one) => peer(`uid ${one}`, at)),
        drop: drop.flatMap((one) => [`address ${one}`, `uid ${one}`]),
      }));
      const start = { addresses: new Set(before.map((one) => `address ${one}`)), peers: new Map() };
      const after = ({ addresses, peers }: typeof start, asked: (typeof all)[number]): typeof start => ({
        addresses: new Set([
          ...[...addresses].filter((one) => !asked.drop.includes(one)),
          ...asked.addresses,
        ]),
        peers: new Map([
          ...[...peers].filter(([uid]) => !asked.drop.includes(uid)),
          ...asked.peers.map((one) => [one.uid, one] as const),
        ]),
      });
      const pending = new PendingQuestions();
      for (const one of all) pending.add(one);
      const [apart, together] = [all.reduce(after, start), after(start, pending.take() as never)];
      t.strictSame([...together.addresses].toSorted(), [...apart.addresses].toSorted());
      const byUid = ({ peers }: typeof start) =>
        [...peers].toSorted(([one], [other]) => (one < other ? -1 : 1));
      t.strictSame(byUid(together), byUid(apart));
      t.strictSame(pending.take(), { addresses: [], peers: [], drop: [] });
    }),
  );
  t.end();
});
