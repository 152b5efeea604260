import fc from 'fast-check';
import t from 'tap';
import { ClusterLookup } from '../../src/authority/cluster-lookup.ts';
import { SelectorCache, sliceOf } from '../../src/authority/slice.ts';
import { Dependents } from '../../src/authority/dependents.ts';
import { objectName } from '../../src/sources/cluster-contents.ts';
import type { ClusterObject } from '../../src/sources/objects.ts';
import {
  changesBetween,
  cluster,
  NODE,
  rawNamespace,
  rawPod,
  rawPolicy,
  rawService,
  rawSlice,
} from './cluster.ts';

const NAMES = ['a', 'b', 'c'] as const;
const ADDRESSES = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '192.0.2.1'] as const;
const name = fc.constantFrom(...NAMES);
const address = fc.constantFrom(...ADDRESSES);
const namespace = fc.constantFrom('shop', 'bank');
const labels = fc.constantFrom({ app: 'x' }, { app: 'y' });

/** Few names and addresses, so that much of it meets: pods at one address, names taken over by other uids, endpoints without a pod. */
const rawObject = fc.oneof(
  fc
    .record({ name, namespace, address, labels, uid: fc.constantFrom('1', '2'), ended: fc.boolean() })
    .map(({ name, uid, ended, ...rest }) =>
      rawPod(name, {
        ...rest,
        uid: `${rest.namespace}-${name}-${uid}`,
        ...(ended ? { phase: 'Failed' } : {}),
      }),
    ),
  fc.record({ name, address, namespace }).map((one) => rawService(one.name, one.address, one.namespace)),
  fc
    .record({ name, addresses: fc.uniqueArray(address), namespace })
    .map((one) => rawSlice(one.name, one.addresses, one.namespace)),
  fc.record({ name, labels, namespace }).map((one) => rawPolicy(one.name, one.labels, one.namespace)),
  fc.record({ namespace, labels }).map((one) => rawNamespace(one.namespace, one.labels)),
  fc.record({ address, cidr: fc.constantFrom('10.1.0.0/24', '10.2.0.0/24') }).map((one) => ({
    ...NODE,
    spec: { podCIDRs: [one.cidr] },
    status: { addresses: [{ type: 'InternalIP', address: one.address }] },
  })),
);

/** Of two with one name the last one is there. */
const state = fc
  .array(rawObject, { maxLength: 14 })
  .map((raws) => [...new Map(cluster(...raws).map((one) => [objectName(one), one] as const)).values()]);

/** All that can be asked, sorted where the order says nothing. */
function answers(lookup: ClusterLookup): unknown {
  const sorted = (all: Iterable<unknown>): string[] => [...all].map((one) => JSON.stringify(one)).toSorted();
  const everywhere = ['10.1.0.1', '10.1.0.2', '10.1.0.3', '192.0.2.1'].map((one) => [
    sorted(lookup.podsAt(one)),
    sorted(lookup.servicesAt(one)),
    sorted(lookup.slicesAt(one)),
    lookup.nodeAt(one),
  ]);
  const services = ['shop', 'bank'].flatMap((namespace) =>
    NAMES.map((name) => sorted(lookup.slicesOf({ namespace, name }))),
  );
  return {
    everywhere,
    services,
    policies: ['shop', 'bank'].map((one) => sorted(lookup.policiesOf(one))),
    maps: [lookup.podsByUid, lookup.podsByName, lookup.namespaces, lookup.nodes, lookup.services].map((map) =>
      sorted(map),
    ),
  };
}

t.test('cluster lookup: one that has followed changes answers as one that is made anew', (t) => {
  fc.assert(
    fc.property(fc.array(state, { minLength: 2, maxLength: 5 }), (states) => {
      const [first, ...rest] = states as [ClusterObject[], ...ClusterObject[][]];
      const following = new ClusterLookup(first);
      let before = first;
      for (const after of rest) {
        following.apply(changesBetween(before, after));
        t.strictSame(answers(following), answers(new ClusterLookup(after)));
        before = after;
      }
    }),
    { numRuns: 150 },
  );
  t.end();
});

t.test('cluster lookup: whose slice is another one after a change depends on one of its keys', (t) => {
  const selectors = new SelectorCache();
  fc.assert(
    fc.property(state, rawObject, fc.boolean(), fc.uniqueArray(address), (before, raw, comes, addresses) => {
      // One change alone, so that no other one hides that it was not noticed.
      const [changed] = cluster(raw) as [ClusterObject];
      const rest = before.filter((one) => objectName(one) !== objectName(changed));
      const after = comes ? [...rest, changed] : rest;
      const following = new ClusterLookup(before);
      const interests = { addresses: new Set(addresses), peers: new Set(['shop/a', 'bank/b']) };
      const slices = () =>
        new Map(
          [...following.podsByUid].map(([uid, pod]) => [uid, sliceOf(following, pod, interests, selectors)]),
        );
      const told = slices();
      const keys = following.apply(changesBetween(before, after));
      const text = (objects: ReadonlyMap<string, ClusterObject>): string =>
        JSON.stringify([...objects].toSorted(([one], [other]) => (one < other ? -1 : 1)));
      for (const [uid, { objects }] of slices()) {
        const known = told.get(uid);
        if (known === undefined || text(known.objects) === text(objects)) continue;
        const touched = [...keys].some((key) => known.dependsOn.has(key) || key === `uid/${uid}`);
        t.ok(touched, `${uid} is looked at`);
      }
    }),
    { numRuns: 2_000 },
  );
  t.end();
});

t.test('dependents: finds who depends on a key now, and nobody who did', (t) => {
  const index = new Dependents<string>();
  const [none, ab, bc] = [new Set<string>(), new Set(['a', 'b']), new Set(['b', 'c'])];
  index.update('one', none, ab);
  index.update('two', none, bc);
  t.strictSame([...index.concerned(new Set(['b']))], ['one', 'two']);
  index.update('one', ab, bc);
  t.strictSame([...index.concerned(new Set(['a']))], []);
  t.strictSame([...index.concerned(new Set(['c', 'b']))].toSorted(), ['one', 'two']);
  index.update('two', bc, none);
  t.strictSame([...index.concerned(new Set(['b']))], ['one']);
  t.end();
});
