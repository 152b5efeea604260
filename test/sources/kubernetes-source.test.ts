import t, { type Test } from 'tap';
import { FakeApiServer } from '../support/fake-api-server.ts';
import { testSource } from '../support/source-compliance.ts';
import { until } from '../support/until.ts';
import {
  makeKubernetesOrigin,
  podObject,
  policyObject,
  sourceOn,
  writeContents,
} from './kubernetes-origin.ts';

t.setTimeout(300_000);

for (const level of ['oldest', 'current'] as const) {
  testSource(t, `kubernetes source, ${level} server`, () => makeKubernetesOrigin({ level }));
}

async function started(t: Test) {
  const server = await new FakeApiServer().start();
  writeContents(server, { labels: { app: 'web' }, policies: ['a'] });
  const source = sourceOn(server);
  t.teardown(async () => {
    await source.close();
    await server.close();
  });
  await source.start();
  const names = (): string[] => source.snapshot!.policies.map(({ name }) => name).toSorted();
  return { server, source, names };
}

t.test(
  'kubernetes source: an API server that goes away leaves everything as it was, and its age grows',
  async (t) => {
    const { server, source, names } = await started(t);
    const before = source.snapshot;
    await server.stop();
    await until('it is told', () => source.problems.length > 0);
    t.match(source.problems[0]!.reason, /cannot be reached.*the last state stays in force/);
    const confirmed = source.confirmedAt!;
    await until('it has been away for a second', () => Date.now() - confirmed > 1_000);
    t.equal(source.snapshot, before);
    t.equal(source.confirmedAt, confirmed, 'nothing was confirmed meanwhile');
    server.put(policyObject('b'));
    server.store.compact();
    await server.start();
    await until('the new policy is there', () => names().includes('b'));
    await until('it is well', () => source.problems.length === 0);
    await until('it is known to be the newest again', () => source.confirmedAt! > confirmed);
  },
);

t.test('kubernetes source: a kind that may not be read keeps the pod without any state', async (t) => {
  const server = await new FakeApiServer().start();
  writeContents(server, { labels: { app: 'web' }, policies: [] });
  server.allows = (_user, _verb, collection) => !collection.endsWith('networkpolicies');
  const source = sourceOn(server);
  t.teardown(async () => {
    await source.close();
    await server.close();
  });
  // A pod that cannot be read is told of as soon as all pods were listed, the own one among them.
  const odd = podObject('odd', {});
  server.put({ ...odd, metadata: { ...odd.metadata, labels: { app: 5 } as never } });
  void source.start();
  const told = (what: RegExp): boolean =>
    source.problems.some(({ reason, object = '' }) => what.test(`${object} ${reason}`));
  await until('it is told', () =>
    told(/allow list and watch on networkpolicies in namespace shop with RBAC/),
  );
  await until('the pods were read', () => told(/pod\/shop\/odd/));
  const asked = (): number => server.requests.filter((one) => one.includes('/networkpolicies')).length;
  await until('it asks again', () => asked() >= 3);
  t.equal(source.snapshot, undefined, 'without its policies nothing is in force');
  server.allows = () => true;
  await until('it starts', () => source.snapshot !== undefined);
});

t.test('kubernetes source: rights that are taken away later leave everything as it was', async (t) => {
  const { server, source } = await started(t);
  const before = source.snapshot;
  server.allows = () => false;
  server.store.compact();
  for (const watch of server.watches) watch.expire();
  await until('it is told', () => source.problems.length > 0);
  t.equal(source.snapshot, before);
});

t.test('kubernetes source: only the policies of the own namespace are asked for', async (t) => {
  const { server, source, names } = await started(t);
  const foreign = policyObject('foreign');
  server.put({ ...foreign, metadata: { ...foreign.metadata, namespace: 'other' } });
  server.put(policyObject('b'));
  await until('the own one is there', () => names().includes('b'));
  t.strictSame(names(), ['a', 'b']);
  const asked = server.requests.filter((line) => line.includes('networkpolicies'));
  for (const line of asked) t.match(line, /networking\.k8s\.io\/v1\/namespaces\/shop\/|policy\.networking/);
  t.strictSame(source.problems, []);
});

t.test('kubernetes source: a policy that this version cannot read isolates and allows nothing', async (t) => {
  const { server, source } = await started(t);
  server.put(policyObject('odd', { podSelector: {}, ingress: 'everything' }));
  await until('it is told', () => source.problems.length > 0);
  t.match(source.problems[0], {
    object: 'networkpolicy/shop/odd',
    reason: /isolates its pods and allows nothing/,
  });
  const odd = source.snapshot!.policies.find(({ name }) => name === 'odd');
  t.strictSame([odd?.ingress, odd?.egress], [[], []]);
  server.put(policyObject('odd'));
  await until('it is well', () => source.problems.length === 0);
});

t.test('kubernetes source: a node that cannot be read keeps the last state', async (t) => {
  const { server, source } = await started(t);
  const before = source.snapshot;
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } };
  server.put({ ...node, spec: { podCIDRs: ['rubbish'] } });
  server.remove(policyObject('a'));
  await until('it is told', () => source.problems.length > 0);
  t.match(source.problems[0], { object: 'node/n1', reason: /everything stays as it was/ });
  t.equal(source.snapshot, before);
  server.put({ ...node, spec: { podCIDRs: ['10.0.0.0/16'] } });
  await until('the next state is there', () => source.snapshot !== before);
  t.ok(source.snapshot!.directory.knowsPodNetwork);
});

t.test(
  'kubernetes source: the own pod that is gone leaves the last state, its successor counts',
  async (t) => {
    const { server, source } = await started(t);
    const before = source.snapshot;
    server.remove(podObject('web', {}));
    await until('it is told', () => source.problems.length > 0);
    t.match(source.problems[0], { object: 'pod/shop/web', reason: /the last state stays in force/ });
    t.equal(source.snapshot, before);
    server.put(podObject('web', { app: 'new' }));
    await until('it is there', () => source.snapshot!.self.labels['app'] === 'new');
  },
);
