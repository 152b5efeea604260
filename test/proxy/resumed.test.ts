import t from 'tap';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { Simulation } from './simulation.ts';

const ENDING = { cause: 'end', bytesIn: 3, bytesOut: 4, durationMs: 5 } as const;

/** Isolates `server` and lets in who has the label. */
function onlyWith(label: string): NetworkPolicy {
  const selector = (labels: Record<string, string>) => ({ matchLabels: labels, matchExpressions: [] });
  const peer = {
    kind: 'pods',
    podSelector: selector({ [label]: 'yes' }),
    namespaceSelector: undefined,
  } as const;
  return {
    namespace: 'demo',
    name: 'server',
    podSelector: selector({ app: 'server' }),
    policyTypes: ['Ingress'],
    ingress: [{ peers: [peer], ports: undefined }],
    egress: [],
  };
}

async function twoPods(policies: NetworkPolicy[] = [onlyWith('good')]) {
  const world = new Simulation();
  const server = world.pod('server', { app: 'server' });
  const client = world.pod('client', { good: 'yes' });
  world.policies = policies;
  world.publish();
  client.connect(server.address).say('hi');
  await world.settle();
  const passes = { inbound: server.dataPath!.resumption, outbound: client.dataPath!.resumption };
  return { world, server, client, passes };
}

t.test('passes: each side gives one about exactly this connection once it is established', async (t) => {
  const { server, client, passes } = await twoPods();
  t.match(passes.inbound.inbound, [
    {
      peer: client.address,
      reached: { address: server.address, port: 80 },
      meant: { address: server.address, port: 80 },
      token: client.credentials!.token,
    },
  ]);
  t.match(passes.outbound.outbound, [
    { dialled: { address: server.address, port: 80 }, target: { address: server.address, port: 80 } },
  ]);
  const [inbound] = passes.inbound.inbound;
  const [outbound] = passes.outbound.outbound;
  t.strictSame(Buffer.from(inbound!.session.id), Buffer.from(outbound!.session.id));
  for (const pass of [inbound!, outbound!]) t.ok(pass.lifetimeMs > 50_000 && pass.lifetimeMs <= 60_000);
});

t.test('passes: counters of a pass are offered by nobody else', async (t) => {
  const { world, server, client, passes } = await twoPods();
  const { counters } = passes.outbound.outbound[0]!;
  for (let round = 0; round < 3; round++) client.connect(server.address).say('hi');
  await world.settle();
  t.equal(counters.first, 0n);
  const { window } = passes.inbound.inbound[0]!;
  for (let used = 0n; used < 3n; used++) {
    t.equal(window.use(counters.first + used), 'fresh', 'of the pass');
    t.equal(window.use(BigInt(counters.count) + used), 'seen', 'of TypeScript');
  }
});

t.test('passes: none is given for whom policy denies, and none while draining', async (t) => {
  const denied = await twoPods([onlyWith('other')]);
  t.strictSame([...denied.passes.inbound.inbound, ...denied.passes.outbound.outbound], []);
  const { world, server, client, passes } = await twoPods();
  void server.proxy!.drain(0);
  t.strictSame(passes.inbound.inbound, [], 'what was given is taken back');
  client.connect(server.address).say('hi');
  await world.settle();
  t.strictSame(passes.inbound.inbound, []);
});

t.test('passes: what went by one is counted and recorded like any other', async (t) => {
  const { server, client, passes } = await twoPods();
  const peer = { address: client.address, port: 1234 };
  server.dataPath!.tell(passes.inbound.inbound[0]!.number, peer, ENDING);
  t.equal(server.counts.at(-1), 'inbound allow policy-allowed proven resumed');
  t.match(server.records.at(-1), {
    facts: {
      direction: 'inbound',
      peer: 'proven',
      handshake: 'resumed',
      source: { ...peer, namespace: 'demo', pod: 'client' },
      destination: { address: server.address, port: 80, namespace: 'demo', pod: 'server' },
    },
    judgement: { verdict: 'allow', policy: 'networkpolicy/demo/server', rule: 1 },
    ending: ENDING,
  });
  client.dataPath!.tell(passes.outbound.outbound[0]!.number, peer, ENDING);
  t.match(client.records.at(-1)?.facts, {
    direction: 'outbound',
    source: { ...peer, namespace: 'demo', pod: 'client' },
    destination: { address: server.address, port: 80, namespace: 'demo', pod: 'server' },
  });
  const open = server.proxy!.open.size;
  server.dataPath!.tell(passes.inbound.inbound[0]!.number, peer);
  t.equal(server.proxy!.open.size, open + 1, 'one that is still open is one of the open flows');
});

t.test('passes: a change of policy takes them back before what is open is judged again', async (t) => {
  const { world, server, client, passes } = await twoPods();
  const id = server.dataPath!.tell(passes.inbound.inbound[0]!.number, { address: client.address, port: 1 });
  const before = passes.inbound.revoked;
  world.policies = [onlyWith('other')];
  world.publish();
  t.strictSame(passes.inbound.inbound, []);
  t.equal(server.counts.at(-1), 'inbound deny policy-changed proven resumed');
  t.ok(server.dataPath!.resets.some((reset) => reset.id === id && reset.revoked > before));
});

t.test('passes: a connection that is told after a change is judged by what holds now', async (t) => {
  const { world, server, client, passes } = await twoPods();
  const { number } = passes.inbound.inbound[0]!;
  world.policies = [onlyWith('other')];
  world.publish();
  const id = server.dataPath!.tell(number, { address: client.address, port: 1 });
  t.strictSame(server.counts.slice(-2), [
    'inbound allow policy-allowed proven resumed',
    'inbound deny policy-changed proven resumed',
  ]);
  t.ok(server.dataPath!.resets.some((reset) => reset.id === id));
});

t.test('passes: a new identity takes passes back, and with them the sessions', async (t) => {
  const { world, server, client, passes } = await twoPods();
  const { session } = passes.inbound.inbound[0]!;
  server.credentials = world.credentialsFor(server.pod);
  server.proxy!.identityChanged();
  t.strictSame(passes.inbound.inbound, []);
  client.connect(server.address).say('hi');
  await world.settle();
  t.equal(server.counts.at(-1), 'inbound allow policy-allowed proven full');
  t.notSame(Buffer.from(passes.inbound.inbound[0]!.session.id), Buffer.from(session.id));
});

t.test('passes: a connection by a pass that nobody knows is cut', async (t) => {
  const { server } = await twoPods();
  const counted = server.counts.length;
  const id = server.dataPath!.tell(4_711, { address: '10.0.0.9', port: 1 });
  t.ok(server.dataPath!.resets.some((reset) => reset.id === id));
  t.equal(server.counts.length, counted);
});

t.test('passes: a defect about one connection that is told costs that one alone', async (t) => {
  const { server, client, passes } = await twoPods();
  const { number } = passes.inbound.inbound[0]!;
  const peer = { address: client.address, port: 1 };
  const push = server.counts.push.bind(server.counts);
  server.counts.push = () => {
    throw new Error('a defect');
  };
  const id = server.dataPath!.tell(number, peer);
  server.counts.push = push;
  t.ok(server.dataPath!.resets.some((reset) => reset.id === id));
  t.match(server.defects, [{ message: 'a defect' }]);
  const open = server.proxy!.open.size;
  server.dataPath!.tell(number, peer);
  t.equal(server.proxy!.open.size, open + 1);
});

t.test(
  'passes: one that was told while open is recorded once at its end, and is no open flow any more',
  async (t) => {
    const { world, server, client, passes } = await twoPods();
    const { number } = passes.inbound.inbound[0]!;
    const [open, records] = [server.proxy!.open.size, server.records.length];
    const id = server.dataPath!.tell(number, { address: client.address, port: 1 });
    t.equal(server.proxy!.open.size, open + 1);
    server.dataPath!.tellEnd(id, ENDING);
    await world.settle();
    t.equal(server.proxy!.open.size, open);
    t.equal(server.records.length, records + 1);
    t.match(server.records.at(-1)?.facts, { handshake: 'resumed', source: { port: 1 } });
  },
);
