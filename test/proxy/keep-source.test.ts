import t from 'tap';
import { demandTransparent } from '../../src/proxy/keep-source.ts';
import { Simulation } from './simulation.ts';

/** A server whose sidecar keeps addresses, a client with a sidecar and one without. */
function keepingWorld() {
  const world = new Simulation();
  const server = world.pod('server', { app: 'server' }, { keepSource: true });
  const client = world.pod('client', {});
  const stranger = world.pod('stranger', {}, { sidecar: false });
  world.publish();
  return { world, server, client, stranger };
}

t.test(
  "keep source: the application is dialled from the client's address and port, proven or not",
  async (t) => {
    const { world, server, client, stranger } = keepingWorld();
    client.connect(server.address).say('hi');
    await world.settle();
    stranger.connect(server.address).say('hi');
    await world.settle();
    t.strictSame(
      server.dataPath!.dialled.map(({ source }) => source),
      [
        { address: client.address, port: 50_000 },
        { address: stranger.address, port: 40_000 },
      ],
    );
    t.equal(server.accepted.length, 2);
    t.strictSame(
      server.dataPath!.resumption.inbound.map(({ keepSource }) => keepSource),
      [true],
      'and by a pass alike',
    );
    t.ok(
      client.dataPath!.dialled.every(({ source }) => source === undefined),
      'what goes out has the own address',
    );
  },
);

t.test("keep source: the pod's own call from outside has its own address anyway", async (t) => {
  const { world, server } = keepingWorld();
  server.connect(server.address).say('hi');
  await world.settle();
  t.ok(server.dataPath!.dialled.length > 0);
  t.ok(server.dataPath!.dialled.every(({ source }) => source === undefined));
});

t.test(
  'keep source: where the address cannot be had the application is not called from another one',
  async (t) => {
    const { world, server, client, stranger } = keepingWorld();
    server.dataPath!.sourcesFail = true;
    for (const who of [client, stranger]) {
      const end = who.connect(server.address);
      end.say('hi');
      await world.settle(50);
      t.equal(end.gone, 'reset');
    }
    t.equal(server.accepted.length, 0);
    t.strictSame(server.counts, [
      'inbound deny source-not-kept proven full',
      'inbound deny source-not-kept unproven none',
    ]);
    t.match(server.records[0]!.judgement, { detail: 'EPERM' });
    t.strictSame(server.dataPath!.resumption.inbound, [], 'and no pass is given');
  },
);

t.test('keep source: without the flag the pod dials from its own address', async (t) => {
  const world = new Simulation();
  const server = world.pod('server', {});
  const client = world.pod('client', {});
  world.publish();
  client.connect(server.address).say('hi');
  await world.settle();
  t.ok(server.dataPath!.dialled.every(({ source }) => source === undefined));
  t.strictSame(
    server.dataPath!.resumption.inbound.map(({ keepSource }) => keepSource),
    [false],
  );
});

t.test('keep source: a process without the capability is told which one, and how to have it', (t) => {
  const refused = {
    tryTransparent: () => {
      throw new Error('Operation not permitted');
    },
  };
  t.throws(() => demandTransparent(refused), {
    name: 'UserError',
    message: /--keep-source-address: .*Operation not permitted.*NET_ADMIN or NET_RAW.*ambient/,
  });
  t.doesNotThrow(() => demandTransparent({ tryTransparent: () => {} }));
  t.end();
});
