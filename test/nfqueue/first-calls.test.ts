import t from 'tap';
import { FirstCalls, HANGS_MS, MOST_AT_ONCE } from '../../src/nfqueue/first-calls.ts';
import { Simulation } from '../proxy/simulation.ts';
import { allowFrom } from './policies.ts';
import { QueuedNetwork } from './queued-network.ts';
import { frameTypes } from './wire-reading.ts';

t.test('first calls: so many to one address at once, and the next when one of them is through', (t) => {
  const calls = new FirstCalls();
  const leave = Array.from({ length: MOST_AT_ONCE }, (_, at) => {
    t.ok(calls.admits('10.0.0.1', at));
    return calls.enter('10.0.0.1', at);
  });
  t.notOk(calls.admits('10.0.0.1', MOST_AT_ONCE));
  t.ok(calls.admits('10.0.0.2', MOST_AT_ONCE), 'others wait for nobody of them');
  leave[7]!();
  leave[7]!();
  t.ok(calls.admits('10.0.0.1', MOST_AT_ONCE));
  calls.enter('10.0.0.1', MOST_AT_ONCE);
  t.notOk(calls.admits('10.0.0.1', MOST_AT_ONCE), 'who leaves twice makes room for one');
  t.end();
});

t.test('first calls: one that hangs keeps nobody waiting', (t) => {
  const calls = new FirstCalls();
  const leave = Array.from({ length: MOST_AT_ONCE }, (_, at) => calls.enter('10.0.0.1', at));
  t.notOk(calls.admits('10.0.0.1', HANGS_MS - 1));
  t.ok(calls.admits('10.0.0.1', HANGS_MS));
  calls.enter('10.0.0.1', HANGS_MS);
  t.notOk(calls.admits('10.0.0.1', HANGS_MS), 'and only the oldest had hung');
  for (const one of leave) one();
  for (let at = 1; at < MOST_AT_ONCE; at++) {
    t.ok(calls.admits('10.0.0.1', HANGS_MS), 'all but the last are gone');
    calls.enter('10.0.0.1', HANGS_MS);
  }
  t.notOk(calls.admits('10.0.0.1', HANGS_MS));
  t.end();
});

t.test('nfqueue: of a crowd of first calls so many prove themselves in full, and the others resume', (t) => {
  const simulation = new Simulation();
  simulation.policies = [allowFrom('db', 'web')];
  const pods = [simulation.pod('web', { app: 'web' }), simulation.pod('db', { app: 'db' })] as const;
  const network = new QueuedNetwork(simulation, ...pods);
  const { client, server } = network;
  const crowd = Array.from({ length: MOST_AT_ONCE + 20 }, () => {
    network.connect();
    client.tcp.connect();
    return { client: client.tcp, server: server.tcp };
  });
  const hellos = (): number => network.wire.filter(({ bytes }) => frameTypes(bytes).includes('hello')).length;
  t.equal(hellos(), MOST_AT_ONCE, 'the other SYNs have not left');
  // The first call, while nothing is heard of the others.
  Object.assign(client, { tcp: crowd[0]!.client });
  Object.assign(server, { tcp: crowd[0]!.server });
  network.run();
  t.equal(crowd[0]!.client.state, 'established');
  for (const one of crowd.slice(MOST_AT_ONCE)) {
    Object.assign(client, { tcp: one.client });
    Object.assign(server, { tcp: one.server });
    one.client.retransmit();
    network.run();
    t.equal(one.client.state, 'established');
    t.equal(client.pod.counts.at(-1), 'outbound allow not-isolated proven resumed');
  }
  t.strictSame([...client.defects, ...server.defects], []);
  t.end();
});
