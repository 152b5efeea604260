import t from 'tap';
import type { StateMessage } from '../../src/authority-protocol/messages.ts';
import { ClusterLookup } from '../../src/authority/cluster-lookup.ts';
import { SelectorCache } from '../../src/authority/slice.ts';
import {
  newStream,
  step,
  type StreamEffect,
  type StreamEvent,
  type World,
} from '../../src/authority/stream-state.ts';
import { contentsOf } from '../../src/sources/cluster-contents.ts';
import { decodeObject, type ClusterObject } from '../../src/sources/objects.ts';
import {
  changedKeys,
  cluster,
  NODE,
  rawNamespace,
  rawPod,
  rawPolicy,
  rawService,
  rawSlice,
} from './cluster.ts';

const WEB = rawPod('web', { address: '10.1.0.2', labels: { app: 'web' } });
const DB = rawPod('db', { address: '10.1.0.3', labels: { app: 'db' } });
const SECRET = rawPod('vault', { namespace: 'bank', address: '10.1.0.9', labels: { app: 'vault' } });
const SHOP = rawNamespace('shop', { team: 'a' });
const BANK = rawNamespace('bank');
const BASE = [SHOP, BANK, NODE, WEB, DB, SECRET];
const TRUST = { trust_domain: 'cluster.local', keys: [] };
const selectors = new SelectorCache();

function world(contents: readonly ClusterObject[], more: Partial<World> = {}): World {
  return {
    lookup: new ClusterLookup(contents),
    selectors,
    networks: { pods: ['10.1.0.0/24'], services: [] },
    trust: () => TRUST,
    authorities: 'PEM',
    marks: new Map(),
    gone: new Set(),
    confirmedAt: 1_000,
    ...more,
  };
}

const LOOK: StreamEvent = { kind: 'changed', keys: undefined };
const ask = (more: Partial<StreamEvent & { kind: 'asked' }>): StreamEvent => ({
  kind: 'asked',
  addresses: [],
  peers: [],
  drop: [],
  ...more,
});

function sent(effects: readonly StreamEffect[]): StateMessage | undefined {
  return effects.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []))[0];
}

function namesIn(message: StateMessage | undefined): string[] {
  return (message?.set ?? [])
    .map((one) => {
      const made = decodeObject(one);
      if (made === 'ignored' || !('object' in made)) throw new Error(`unreadable: ${JSON.stringify(one)}`);
      return made.object;
    })
    .map(
      (object: ClusterObject) =>
        [...contentsOf([object]).pods].map(({ pod }) => `pod/${pod.name}`)[0] ??
        `${object.kind} ${'name' in object ? object.name : object.kind === 'NetworkPolicy' ? object.policy.name : ''}`,
    )
    .toSorted();
}

t.test(
  'stream: the first message holds the own pod, its namespace, node and policies, and nothing about anybody else',
  (t) => {
    const contents = cluster(
      ...BASE,
      rawPolicy('for-web', { app: 'web' }),
      rawPolicy('for-db', { app: 'db' }),
      rawPolicy('elsewhere', {}, 'bank'),
      rawService('web', '10.9.0.1'),
      rawSlice('web', ['10.1.0.2', '10.1.0.4']),
      rawService('db', '10.9.0.2'),
      rawSlice('db', ['10.1.0.3']),
    );
    const { effects } = step(newStream('uid-web'), LOOK, world(contents), 1_000);
    const message = sent(effects);
    t.strictSame(namesIn(message), [
      'EndpointSlice web-1',
      'Namespace shop',
      'NetworkPolicy for-web',
      'Node node-1',
      'Service web',
      'pod/web',
    ]);
    t.match(message, { reset: true, self: 'shop/web', authorities: 'PEM', trust: TRUST });
    const text = JSON.stringify(message);
    for (const foreign of ['10.1.0.3', '10.1.0.4', '10.1.0.9', 'vault', 'bank', 'for-db']) {
      t.notOk(text.includes(foreign), `nothing about ${foreign}`);
    }
    t.end();
  },
);

t.test('stream: what is asked about is answered with what stands there, and followed from then on', (t) => {
  const contents = cluster(...BASE);
  let { state } = step(newStream('uid-web'), LOOK, world(contents), 1_000);
  const asked = step(state, ask({ addresses: ['10.1.0.3', '198.51.100.1'] }), world(contents), 1_000);
  t.strictSame(namesIn(sent(asked.effects)), ['pod/db']);
  t.strictSame(sent(asked.effects)?.answered, ['10.1.0.3', '198.51.100.1']);
  state = asked.state;

  const relabelled = rawPod('db', { address: '10.1.0.3', labels: { app: 'db', tier: 'gold' } });
  const after = cluster(...BASE.filter((one) => one !== DB), relabelled);
  const keys = changedKeys(contents, after);
  const told = step(state, { kind: 'changed', keys }, world(after), 1_001);
  t.strictSame(namesIn(sent(told.effects)), ['pod/db']);
  t.match(JSON.stringify(sent(told.effects)), /gold/);

  const gone = cluster(...BASE.filter((one) => one !== DB));
  const ended = step(told.state, { kind: 'changed', keys: changedKeys(after, gone) }, world(gone), 1_002);
  t.strictSame(sent(ended.effects)?.remove, ['pod/shop/db']);
  t.end();
});

t.test("stream: a pod that comes to an address which was nobody's is told at once", (t) => {
  const before = cluster(SHOP, NODE, WEB);
  let { state } = step(newStream('uid-web'), ask({ addresses: ['10.1.0.3'] }), world(before), 1_000);
  const after = cluster(SHOP, NODE, WEB, DB);
  const { effects } = step(state, { kind: 'changed', keys: changedKeys(before, after) }, world(after), 1_000);
  t.strictSame(namesIn(sent(effects)), ['pod/db']);
  t.end();
});

t.test('stream: a Service that is asked about brings its endpoints and the pods behind them', (t) => {
  const contents = cluster(...BASE, rawService('db', '10.9.0.2'), rawSlice('db', ['10.1.0.3']));
  const { state } = step(newStream('uid-web'), LOOK, world(contents), 1_000);
  const { effects } = step(state, ask({ addresses: ['10.9.0.2'] }), world(contents), 1_000);
  t.strictSame(namesIn(sent(effects)), ['EndpointSlice db-1', 'Service db', 'pod/db']);
  t.end();
});

t.test('stream: a change that concerns somebody else costs nothing and says nothing', (t) => {
  const before = cluster(...BASE, rawPolicy('a', {}, 'bank'));
  const { state } = step(newStream('uid-web'), LOOK, world(before), 1_000);
  const after = cluster(...BASE.filter((one) => one !== SECRET), rawPolicy('b', {}, 'bank'));
  const keys = changedKeys(before, after);
  t.ok(keys.size > 0);
  const { state: same, effects } = step(state, { kind: 'changed', keys }, world(after), 1_000);
  t.equal(same, state);
  t.strictSame(effects, []);
  t.end();
});

t.test('stream: what is dropped is no longer told', (t) => {
  const contents = cluster(...BASE);
  const asked = step(newStream('uid-web'), ask({ addresses: ['10.1.0.3'] }), world(contents), 1_000);
  const { state, effects } = step(asked.state, ask({ drop: ['10.1.0.3'] }), world(contents), 1_000);
  t.strictSame(sent(effects)?.remove, ['pod/shop/db']);
  t.notOk(state.dependsOn.has('pod/shop/db'));
  t.end();
});

t.test('stream: a pod that is gone ends its stream; one that is not known yet waits', (t) => {
  const contents = cluster(...BASE);
  const { state } = step(newStream('uid-web'), LOOK, world(contents), 1_000);
  const gone = cluster(SHOP, NODE, DB);
  const ended = step(state, { kind: 'changed', keys: changedKeys(contents, gone) }, world(gone), 1_000);
  t.strictSame(ended.effects, [{ kind: 'end', code: 'pod-gone' }]);
  const early = step(newStream('uid-web'), LOOK, world(gone), 1_000);
  t.strictSame(early.effects, []);
  const come = step(
    early.state,
    { kind: 'changed', keys: changedKeys(gone, contents) },
    world(contents),
    1_000,
  );
  t.equal(sent(come.effects)?.self, 'shop/web');
  t.end();
});

t.test(
  'stream: a peer whose pod is no more is marked, but never one that this replica has not heard of yet',
  (t) => {
    const contents = cluster(...BASE);
    const { state } = step(newStream('uid-web'), LOOK, world(contents), 1_000);
    const peer = { pod: 'shop/late', uid: 'uid-late', issuedAt: 990 };
    const asked = step(state, ask({ peers: [peer] }), world(contents, { confirmedAt: 1_000 }), 1_000);
    t.strictSame(asked.effects, [{ kind: 'wake', afterMs: 20_000 }], 'nobody knows yet');
    const later = step(asked.state, LOOK, world(contents, { confirmedAt: 1_020 }), 1_020);
    t.match(sent(later.effects)?.marks, [{ uid: 'uid-late', reason: 'gone' }]);
    const seen = world(contents, { gone: new Set(['uid-late']) });
    t.match(sent(step(asked.state, LOOK, seen, 1_001).effects)?.marks, [{ uid: 'uid-late' }], 'it saw it go');
    const stale = step(asked.state, LOOK, world(contents, { confirmedAt: 1_000 }), 9_000);
    t.equal(sent(stale.effects), undefined, 'a replica without news knows nothing about who came since');
    t.end();
  },
);

t.test('stream: the mark of a second key reaches who knows the pod, once, and nobody else', (t) => {
  const contents = cluster(...BASE);
  const marks = new Map([
    ['uid-db', 1_500],
    ['uid-vault', 1_600],
  ]);
  const { state } = step(newStream('uid-web'), ask({ addresses: ['10.1.0.3'] }), world(contents), 1_000);
  const told = step(state, LOOK, world(contents, { marks }), 1_501);
  t.strictSame(sent(told.effects)?.marks, [{ uid: 'uid-db', notBefore: 1_500, reason: 'second-key' }]);
  t.strictSame(step(told.state, LOOK, world(contents, { marks }), 1_502).effects, []);
  t.end();
});

t.test('stream: more questions than a sidecar may have end the stream', (t) => {
  const contents = cluster(...BASE);
  const addresses = Array.from({ length: 4_097 }, (_, at) => `10.2.${at >> 8}.${at & 255}`);
  const { effects } = step(newStream('uid-web'), ask({ addresses }), world(contents), 1_000);
  t.strictSame(effects, [{ kind: 'end', code: 'too-many-interests' }]);
  t.end();
});
