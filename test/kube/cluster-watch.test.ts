import t from 'tap';
import { ClusterWatch } from '../../src/kube/cluster-watch.ts';
import type { ClusterObject } from '../../src/sources/objects.ts';
import { NODE, rawNamespace, rawPod, rawPolicy } from '../authority/cluster.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { until } from '../support/until.ts';

t.setTimeout(180_000);

for (const level of ['oldest', 'current'] as const) {
  t.test(
    `cluster watch: the changes that it tells lead to what there is, on a server of the ${level} level`,
    async (t) => {
      const api = await new FakeApiServer({ level }).start();
      const put = (object: object): void => void api.put(object as unknown as FakeObject);
      const client = api.client();
      const watch = new ClusterWatch({ client, timing: { backoff: { firstMs: 10, mostMs: 100 } } });
      t.teardown(async () => {
        await watch.close();
        await client.close();
        await api.close();
      });
      /** What somebody knows who heard of nothing but the changes. */
      const told = new Map<string, ClusterObject>();
      watch.subscribe((changes) => {
        for (const { name, before, after } of changes) {
          if (told.get(name) !== before) t.fail(`${name} was another one before`);
          if (after === undefined) told.delete(name);
          else told.set(name, after);
        }
      });
      const agrees = (): boolean => {
        const objects = watch.objects();
        const known = new Set(told.values());
        return objects.length === known.size && objects.every((one) => known.has(one));
      };
      put(rawNamespace('shop'));
      put(NODE);
      for (const name of ['a', 'b', 'c']) put(rawPod(name));
      watch.start();
      await until('the first state is told', () => watch.state !== undefined);
      t.equal(told.size, 5);
      t.ok(agrees());

      put(rawPod('a', { labels: { app: 'new' } }));
      put(rawPolicy('p', {}));
      api.remove(rawPod('b') as unknown as FakeObject);
      await until('changes', () => told.size === 5 && told.has('networkpolicy/shop/p') && agrees());

      // What comes and goes while nobody watches is told as what is left of it.
      await api.stop();
      put(rawPod('d'));
      put(rawPod('c', { labels: { app: 'c' } }));
      api.remove(rawPod('a') as unknown as FakeObject);
      api.store.compact();
      await api.start();
      await until('the list anew', () => told.has('pod/shop/d') && !told.has('pod/shop/a') && agrees());

      const { version } = watch.state!;
      put({ ...NODE, spec: { podCIDRs: 'nonsense' } });
      put(rawPod('e'));
      await until('it tells of the node', () =>
        watch.problems.some(({ object }) => object === 'node/node-1'),
      );
      await until('and has the pod', () => told.has('pod/shop/e') && agrees());
      t.ok(watch.state!.version > version, 'the node stays as it was');
      put(NODE);
      await until('all is well', () => watch.problems.length === 0 && agrees());
      t.equal(watch.state!.contents.pods.length, 3);
    },
  );
}

t.test(
  'cluster watch: as long as a node cannot be read at all there is no state, and then all of it',
  async (t) => {
    const api = await new FakeApiServer().start();
    const client = api.client();
    const watch = new ClusterWatch({ client });
    t.teardown(async () => {
      await watch.close();
      await client.close();
      await api.close();
    });
    const put = (object: object): void => void api.put(object as unknown as FakeObject);
    put({ ...NODE, spec: { podCIDRs: 'nonsense' } });
    put(rawPod('a'));
    const told: string[] = [];
    watch.subscribe((changes) => told.push(...changes.map(({ name }) => name)));
    watch.start();
    await until('it is told', () => watch.problems.some(({ object }) => object === 'node/node-1'));
    await until('every kind was read', () => watch.synced);
    // What is told after that was judged after that.
    put({ ...rawPod('odd'), spec: 'nonsense' });
    await until('more is told', () => watch.problems.some(({ object }) => object === 'pod/shop/odd'));
    t.equal(watch.state, undefined);
    t.strictSame(told, []);
    put(NODE);
    await until('there is a state', () => watch.state !== undefined);
    t.strictSame(told.toSorted(), ['node/node-1', 'pod/shop/a']);
  },
);
