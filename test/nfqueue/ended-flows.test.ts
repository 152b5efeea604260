/** When a flow of NFQUEUE mode is over: what is over is not judged again, so that nobody may make it look over. */
import t, { type Test } from 'tap';
import { endGoneFlows } from '../../src/nfqueue/ended-flows.ts';
import { allowFrom } from './policies.ts';
import { webAndDb } from './web-and-db.ts';

const CLOSE = 8;

function world(t: Test) {
  const { simulation, network, client, server } = webAndDb(t);
  const call = (options: Parameters<typeof network.connect>[0] = {}): void => {
    network.connect({ sourcePort: 40_000, ...options });
    client.tcp.connect();
    network.run();
    t.equal(server.tcp.state, 'established');
  };
  return { simulation, network, client, server, call };
}

t.test('nfqueue: a flow ends when conntrack and its socket say so, and is recorded then', async (t) => {
  const { server, call } = world(t);
  call();
  await endGoneFlows(server.proxy);
  t.equal(server.pod.records.length, 0, 'it is open');
  server.path.tcpState = CLOSE;
  server.path.socketLives = false;
  await endGoneFlows(server.proxy);
  t.equal(server.pod.records.length, 1);
  t.equal(server.proxy.flows.size, 0);
  t.equal(server.kept.size, 0);
});

t.test(
  'nfqueue attack: a forged RST that conntrack believes does not take a flow away from policy',
  async (t) => {
    const { simulation, network, client, server, call } = world(t);
    call();
    server.path.tcpState = CLOSE;
    await endGoneFlows(server.proxy);
    t.equal(server.pod.records.length, 0, 'its socket lives');
    simulation.policies = [allowFrom('db', 'admin')];
    simulation.publish();
    await simulation.settle();
    t.equal(server.pod.counts.at(-1), 'inbound deny policy-changed proven full');
    client.tcp.write('still there?');
    network.run();
    t.equal(server.tcp.received, '');
  },
);

t.test('nfqueue: on reused ports a restart knows the connection that lives, and no other', async (t) => {
  const { network, client, server, call } = world(t);
  call();
  const [first] = server.kept.values();
  call({ initial: 77_000, serverInitial: 5_000 });
  const [second] = server.kept.values();
  t.equal(server.kept.size, 1);
  t.not(second, first);
  t.equal(server.proxy.flows.get(second!.key), second);
  // A third one that our kernel does not accept, as it has the second one still.
  network.connect({ sourcePort: 40_000, initial: 99_000, serverInitial: 6_000 });
  server.tcp.state = 'closed';
  client.tcp.connect();
  network.run();
  const third = server.proxy.flows.get(second!.key)!;
  t.equal(third.previous, second);
  server.proxy.end(third);
  t.equal(server.proxy.flows.get(second!.key), second);
  t.equal(server.kept.get(second!.key), second);
});
