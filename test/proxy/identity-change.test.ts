import t from 'tap';
import { Simulation, type SimulatedPod } from './simulation.ts';

function twoPods(): { world: Simulation; server: SimulatedPod; client: SimulatedPod } {
  const world = new Simulation();
  const server = world.pod('server', { app: 'server' });
  const client = world.pod('client', { app: 'client' });
  world.publish();
  return { world, server, client };
}

function renew(world: Simulation, pod: SimulatedPod): void {
  pod.credentials = world.credentialsFor(pod.pod);
  pod.proxy!.identityChanged();
}

t.test(
  'identity: a server that gets another one between its Reply and the Proof keeps no session',
  async (t) => {
    const { world, server, client } = twoPods();
    const old = Buffer.from(server.credentials!.token);
    const verify = world.verify.bind(world);
    let renewals = 0;
    world.verify = (token) => {
      // The client looks at the token of the Reply: the server waits for the Proof.
      if (renewals === 0 && old.equals(token)) {
        renewals++;
        renew(world, server);
      }
      return verify(token);
    };
    client.connect(server.address).say('one');
    await world.settle();
    t.equal(renewals, 1);
    t.equal(server.accepted[0]?.text, 'one', 'the connection itself goes on');
    t.equal(server.proxy!.surroundings.sessions.server.size, 0, 'nothing is left of the old identity');
    client.connect(server.address).say('two');
    await world.settle();
    t.equal(
      server.counts.at(-1),
      'inbound allow not-isolated proven full',
      'the next one is proven by the new one',
    );
    client.connect(server.address).say('three');
    await world.settle();
    t.equal(server.counts.at(-1), 'inbound allow not-isolated proven resumed', 'whose session is kept');
  },
);

t.test('identity: a client that gets another one before the Verdict keeps no session', async (t) => {
  const { world, server, client } = twoPods();
  const push = server.counts.push.bind(server.counts);
  server.counts.push = (...counts) => {
    // The server says yes: the Verdict is not sent yet.
    server.counts.push = push;
    renew(world, client);
    return push(...counts);
  };
  client.connect(server.address).say('one');
  await world.settle();
  t.equal(server.counts.length, 1);
  t.equal(server.accepted[0]?.text, 'one', 'the connection itself goes on');
  t.equal(client.proxy!.surroundings.sessions.client.size, 0, 'nothing is left of the old identity');
  client.connect(server.address).say('two');
  await world.settle();
  t.equal(client.counts.at(-1), 'outbound allow not-isolated proven full');
  client.connect(server.address).say('three');
  await world.settle();
  t.equal(client.counts.at(-1), 'outbound allow not-isolated proven resumed');
});
