import t from 'tap';
import type { Endpoint } from '../../src/lib/address.ts';
import type { ServiceEndpoint, ServicePort } from '../../src/peers/directory.ts';
import { candidateEndpoints } from '../../src/peers/endpoint-choice.ts';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { type PodOptions, type SimulatedPod, Simulation } from './simulation.ts';

const VIP: Endpoint = { address: '10.96.0.1', port: 80 };

/** A Service with servers `one`, `two` and `three`, a client, and everybody called once. */
async function world(changes: Partial<ServicePort> = {}, third: PodOptions = {}) {
  const world = new Simulation();
  const servers = ['one', 'two', 'three'].map((name) =>
    world.pod(name, { name }, name === 'three' ? third : {}),
  );
  const client = world.pod('client', {});
  const endpoints = servers.map(endpointOf);
  const service = {
    ...{ namespace: 'demo', service: 'web', localTraffic: false, clientIpAffinity: false },
    ...changes,
    endpoints,
  };
  world.services.push({ ...VIP, service });
  world.candidates = (of, among) => candidateEndpoints(of, among, undefined, 0.3);
  world.publish();
  const call = async (picked?: Endpoint): Promise<Endpoint> => {
    client.connect(VIP.address, VIP.port, picked).say('hi');
    await world.settle();
    const { address, port } = client.dataPath!.dialled.at(-1)!;
    return { address, port };
  };
  const targets = (): string[] =>
    client.dataPath!.resumption.outbound.map(({ target }) => target.address).sort();
  const candidates = (): string[] =>
    (client.dataPath!.resumption.choices.at(-1)?.candidates ?? []).map(({ address }) => address);
  return { world, servers, client, service, call, targets, candidates };
}

function endpointOf({ address }: SimulatedPod): ServiceEndpoint {
  return { address, port: 80, ready: true, servingWhileTerminating: false, nodeName: undefined };
}

function addresses(pods: readonly SimulatedPod[]): string[] {
  return pods.map(({ address }) => address);
}

/** Lets the client call nobody but servers of these names. */
function egressTo(...names: string[]): NetworkPolicy {
  const selector = (labels: Record<string, string>) => ({ matchLabels: labels, matchExpressions: [] });
  const peers = names.map(
    (name) => ({ kind: 'pods', podSelector: selector({ name }), namespaceSelector: undefined }) as const,
  );
  return {
    namespace: 'demo',
    name: 'client',
    podSelector: selector({}),
    policyTypes: ['Egress'],
    ingress: [],
    egress: [{ peers, ports: undefined }],
  };
}

t.test('passes of a Service: each endpoint gets its own, with its own session', async (t) => {
  const { servers, client, call, targets, candidates } = await world();
  for (const server of servers) {
    t.equal((await call({ address: server.address, port: 80 })).address, server.address, 'as it was picked');
    t.strictSame(candidates(), addresses(servers), 'all are picked from');
  }
  t.strictSame(targets(), addresses(servers));
  const { outbound } = client.dataPath!.resumption;
  for (const pass of outbound) t.match(pass, { dialled: VIP, ofSeveral: true });
  t.equal(new Set(outbound.map(({ session }) => Buffer.from(session.id).toString('hex'))).size, 3);
});

t.test('passes of a Service: without a pick, TypeScript spreads as ever', async (t) => {
  const { servers, call } = await world();
  const called = new Set<string>();
  // All three, but for one time in 10^17.
  for (let calls = 0; calls < 100; calls++) called.add((await call()).address);
  t.strictSame([...called].sort(), addresses(servers));
});

t.test('passes of a Service: with client affinity one endpoint has the only pass', async (t) => {
  const { servers, client, call, targets } = await world({ clientIpAffinity: true });
  const { address } = await call();
  for (const server of servers) {
    t.equal((await call({ address: server.address, port: 80 })).address, address, 'whatever was picked');
  }
  t.strictSame([...new Set(targets())], [address]);
  t.strictSame(client.dataPath!.resumption.choices, []);
  t.match(client.dataPath!.resumption.outbound, [{ dialled: VIP, ofSeveral: false }]);
});

t.test('passes of a Service: an endpoint that policy forbids is no candidate and gets no pass', async (t) => {
  const { world: network, servers, call, targets, candidates } = await world();
  const allowed = servers.slice(0, 2);
  network.policies = [egressTo('one', 'two')];
  network.publish();
  for (const server of servers) {
    const { address } = await call({ address: server.address, port: 80 });
    t.ok(addresses(allowed).includes(address), 'whatever was picked');
  }
  t.strictSame(candidates(), addresses(allowed));
  t.notOk(targets().includes(servers[2]!.address));
});

t.test('passes of a Service: an endpoint that leaves takes all passes with it', async (t) => {
  const { world: network, servers, client, service, call, targets, candidates } = await world();
  for (const { address } of servers) await call({ address, port: 80 });
  service.endpoints.pop();
  network.publish();
  t.strictSame([...targets(), ...client.dataPath!.resumption.choices], []);
  const left = addresses(servers.slice(0, 2));
  t.ok(left.includes((await call({ address: servers[2]!.address, port: 80 })).address), 'a pick from before');
  t.strictSame(candidates(), left);
});

t.test(
  'passes of a Service: new labels of an endpoint take them back, and it is judged by the new ones',
  async (t) => {
    const { world: network, servers, client, call, targets, candidates } = await world();
    network.policies = [egressTo('one', 'two', 'three')];
    network.publish();
    for (const { address } of servers) await call({ address, port: 80 });
    t.strictSame(targets(), addresses(servers));
    const changed = servers[1]!;
    changed.pod = changed.believed = { ...changed.pod, labels: { name: 'other' } };
    network.publish();
    t.strictSame([...targets(), ...client.dataPath!.resumption.choices], []);
    for (const { address } of servers) await call({ address, port: 80 });
    t.strictSame(candidates(), [servers[0]!.address, servers[2]!.address]);
    t.notOk(targets().includes(changed.address));
  },
);

t.test(
  'passes of a Service: an endpoint without a sidecar is picked as often as any, and has no pass',
  async (t) => {
    const { servers, call, targets, candidates } = await world({}, { sidecar: false });
    for (const { address } of servers) t.equal((await call({ address, port: 80 })).address, address);
    t.strictSame(candidates(), addresses(servers));
    t.strictSame(targets(), addresses(servers.slice(0, 2)));
  },
);
