/** Identities that do not fit the packets of a handshake: the stream carrier has room for them. */
import t from 'tap';
import { FALLBACK_MS, FallbackMemory } from '../../src/nfqueue/fallback-memory.ts';
import { Simulation } from '../proxy/simulation.ts';
import { allowFrom } from './policies.ts';
import { QueuedNetwork } from './queued-network.ts';
import { formatFlags, frameTypes } from './wire-reading.ts';

/** Bytes of a Hello without offers and of a full Reply (`docs/protocol.md` section 3), both with the token of the simulation, on IPv4. */
const TOKEN = 200;
const HELLO = 12 + 1 + 1 + 32 + 32 + 7 + 1 + 2 + TOKEN + 1 + 16;
const REPLY = 12 + 1 + 1 + 32 + 32 + 2 + TOKEN + 64;
/** The one option of a SYN here: its largest segment. */
const OPTIONS = 4;

function world() {
  const simulation = new Simulation();
  simulation.policies = [allowFrom('db', 'web')];
  const client = simulation.pod('web', { app: 'web' });
  const server = simulation.pod('db', { app: 'db' });
  return new QueuedNetwork(simulation, client, server);
}

t.test('nfqueue: a Hello that a SYN has no room for goes by the stream carrier, which is told once', (t) => {
  const network = world();
  const { client } = network;
  for (const calls of [1, 2]) {
    network.connect({ maximumSegment: HELLO - 1 + OPTIONS });
    client.tcp.connect();
    network.run();
    t.equal(client.redirected.length, calls, 'to the own listener');
  }
  t.equal(network.wire.length, 0, 'and not a byte of it on the wire');
  t.strictSame(client.fallbacks, [
    `${network.server.pod.address}: the Hello is ${HELLO} bytes long and a SYN here has room for ${HELLO - 1}`,
  ]);
  t.strictSame(client.pod.counts, [], 'the listener makes the record');
  t.end();
});

t.test(
  'nfqueue: a Hello that a repeated SYN has no more room for, as a router has told the kernel, goes by the stream carrier at once',
  (t) => {
    const network = world();
    const { client } = network;
    network.fates = [0];
    network.connect({ maximumSegment: HELLO + OPTIONS });
    client.tcp.connect();
    network.run();
    client.tcp.mss -= 1;
    client.tcp.retransmit();
    network.run();
    t.strictSame(client.fallbacks, [
      `${network.server.pod.address}: the Hello is ${HELLO} bytes long and a SYN here has room for ${HELLO - 1}`,
    ]);
    t.equal(network.wire.length, 1, 'nothing but the first SYN was on the wire');
    t.equal(client.path.deleted.length, 1, 'the conntrack entry is gone, so that nat sees the next SYN');
    client.tcp.retransmit();
    t.equal(client.redirected.length, 1);
    t.strictSame(client.pod.counts, [], 'the listener makes the record');
    t.end();
  },
);

t.test('nfqueue: a Hello that just fits goes with the SYN', (t) => {
  const network = world();
  network.connect({ maximumSegment: REPLY + OPTIONS });
  network.client.tcp.connect();
  network.run();
  t.equal(network.client.tcp.state, 'established');
  t.strictSame(network.client.fallbacks, []);
  t.end();
});

t.test(
  'nfqueue: a Reply that a SYN-ACK has no room for turns the client to the stream carrier at once, and leaves nothing half open',
  (t) => {
    const network = world();
    const { client, server } = network;
    network.connect({ maximumSegment: REPLY - 1 + OPTIONS });
    client.tcp.connect();
    client.tcp.write('data');
    network.run();
    t.equal(client.fallbacks.length, 1, 'before any time has passed');
    t.equal(client.tcp.state, 'syn-sent', 'its application is not refused');
    t.equal(server.tcp.state, 'reset', 'the kernel of the server has forgotten it');
    t.equal(server.tcp.received, '');
    t.strictSame(
      network.wire.map(({ from, bytes }) => `${from} ${formatFlags(bytes)} ${frameTypes(bytes).join()}`),
      ['client SYN hello', 'server SYN ACK ', 'client RST '],
      'nothing of the identity of the server',
    );
    t.strictSame(server.pod.counts, ['inbound deny identity-too-large unproven none']);
    t.match(server.pod.records[0], {
      judgement: {
        detail: `the Reply is ${REPLY} bytes long and the SYN-ACK has room for ${REPLY - 1}`,
      },
    });
    t.equal(client.path.deleted.length, 1, 'the conntrack entry is gone, so that nat sees the next SYN');
    client.tcp.retransmit();
    t.equal(client.redirected.length, 1);
    t.strictSame(client.pod.counts, [], 'the listener makes the record');
    t.end();
  },
);

t.test('fallback memory: an address is news once, and again when its time is over', (t) => {
  const memory = new FallbackMemory();
  t.notOk(memory.has('10.0.0.1', 0));
  t.ok(memory.add('10.0.0.1', 1_000));
  t.notOk(memory.add('10.0.0.1', 1_001), 'told once');
  t.notOk(memory.has('10.0.0.2', 1_001), 'others are called as ever');
  t.ok(memory.has('10.0.0.1', 1_000 + FALLBACK_MS));
  t.notOk(memory.has('10.0.0.1', 1_001 + FALLBACK_MS), 'called with a Hello again');
  t.ok(memory.add('10.0.0.1', 1_001 + FALLBACK_MS));
  t.end();
});

t.test('fallback memory: however many addresses there are, it holds a bounded number, the newest', (t) => {
  const memory = new FallbackMemory();
  for (let number = 0; number < 10_000; number++) memory.add(`address ${number}`, 0);
  const kept = Array.from({ length: 10_000 }, (_, number) => memory.has(`address ${number}`, 1));
  t.equal(kept.filter(Boolean).length, 4_096);
  t.ok(kept.at(-1));
  t.end();
});
