import t from 'tap';
import { fakePlace } from '../../bench/scale/place.ts';
import { measureScale } from '../../bench/scale/steps.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';

t.setTimeout(300_000);

t.test(
  'scale benchmark: a tiny run reaches every sidecar and asks the API server no more for more of them',
  async (t) => {
    const api = await new FakeApiServer().start();
    t.teardown(() => api.close());
    const { windows, held } = await measureScale(fakePlace(api), {
      size: { sidecars: 5, pods: 20, policies: 6, namespaces: 2 },
      firstPods: 10,
      sidecars: [2, 5],
      seconds: 1,
      perSecond: 4,
      tell: () => {},
    });
    for (const { load, sidecars, missing, latency, requests, bytes, cpu } of windows) {
      const name = `${load} with ${sidecars} sidecars`;
      t.equal(missing, 0, `${name}: no change is missed`);
      t.equal(latency === undefined, load === 'none', name);
      // Kinds that a cluster does not have are looked for once a minute.
      const wanted = Object.keys(requests.byKind).filter((kind) => !/^(list|watch) /.test(kind));
      if (load === 'none' || load === 'policies') t.strictSame(wanted, [], `${name}: asks for nothing`);
      t.ok(bytes > 0 || load === 'none', `${name}: bytes are counted`);
      t.ok(cpu > 0, `${name}: CPU is counted`);
    }
    t.strictSame(
      held.map(({ pods, sidecars }) => [pods, sidecars]),
      [
        [10, 2],
        [20, 2],
        [20, 5],
      ],
    );
    t.ok(held.every(({ authority, first }) => authority.heap > 1e6 && first.heap > 1e6));
  },
);
