/** Packets that come when nobody waits for them any more, or before they should: none of them ends a good connection. */
import t, { type Test } from 'tap';
import { endGoneFlows } from '../../src/nfqueue/ended-flows.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { buildPacket, buildReset } from '../../src/nfqueue/packets-build.ts';
import { isReset, isSynAck, reversedTuple, TCP_FLAG, type TcpPacket } from '../../src/nfqueue/packets.ts';
import { webAndDb } from './web-and-db.ts';
import { frameTypes, packetOf } from './wire-reading.ts';

const CLIENT_INITIAL = 1_000;
const PORT = 40_000;

function world(t: Test) {
  const { simulation, network, client, server } = webAndDb(t);
  network.connect({ initial: CLIENT_INITIAL, sourcePort: PORT });
  /** From server to client. */
  const answers = {
    family: 4,
    sourceAddress: addressBytes(server.pod.address)!,
    sourcePort: 80,
    destinationAddress: addressBytes(client.pod.address)!,
    destinationPort: PORT,
  } as const;
  const sent = (from: 'client' | 'server'): TcpPacket[] =>
    network.wire.filter((one) => one.from === from).map(({ bytes }) => packetOf(bytes));
  return { simulation, network, client, server, answers, sent };
}

t.test('nfqueue: what comes behind the Proof is not the first that a kernel with SYN cookies hears', (t) => {
  const { network, client, server } = world(t);
  server.tcp.cookies = true;
  const told: string[] = [];
  const { path } = server;
  const mark = path.setConnectionMark.bind(path);
  path.setConnectionMark = (...order) => {
    // From here on nothing of the connection waits in a queue.
    told.push(server.tcp.state);
    mark(...order);
  };
  client.tcp.connect();
  network.run();
  t.strictSame(told, ['established'], 'its kernel had the third packet before');
  t.end();
});

t.test(
  'nfqueue: a server that has an older connection on the ports is told so by the kernel, and the call comes through',
  (t) => {
    const { network, client, server, answers, sent } = world(t);
    network.fates = [0];
    client.tcp.connect();
    network.run();
    let heard = 0;
    const receive = client.tcp.receive.bind(client.tcp);
    client.tcp.receive = (bytes) => {
      heard++;
      receive(bytes);
    };
    const challenge = { sequence: 5_000, acknowledgement: 77_777, flags: TCP_FLAG.ack };
    client.receive(buildPacket(answers, challenge));
    t.equal(heard, 1, 'our kernel hears it');
    const reset = buildReset(reversedTuple(answers), { sequence: 77_777 });
    client.send(reset);
    t.equal(sent('client').filter(isReset).length, 1, 'and its RST goes out');
    for (const [why, segment] of [
      ['an answer to the SYN that is no SYN-ACK', { ...challenge, acknowledgement: CLIENT_INITIAL + 1 }],
      ['data', { ...challenge, payload: Buffer.from('x') }],
      ['an end', { ...challenge, flags: TCP_FLAG.ack | TCP_FLAG.fin }],
    ] as const) {
      client.receive(buildPacket(answers, segment));
      t.equal(heard, 1, `${why} is not heard`);
    }
    network.retransmit();
    t.equal(client.tcp.state, 'established');
    t.equal(server.tcp.state, 'established');
    t.strictSame(client.fallbacks, []);
    t.end();
  },
);

t.test("nfqueue: a Verdict that bears no data is not given to the client's kernel", (t) => {
  const { network, client } = world(t);
  const heard: TcpPacket[] = [];
  const receive = client.tcp.receive.bind(client.tcp);
  client.tcp.receive = (bytes) => {
    heard.push(packetOf(bytes));
    receive(bytes);
  };
  client.tcp.connect();
  network.run();
  t.ok(
    network.wire.some(({ bytes }) => frameTypes(bytes).includes('verdict')),
    'there was one',
  );
  t.strictSame(heard.map(isSynAck), [true]);
  t.strictSame(client.pod.counts, ['outbound allow not-isolated proven full']);
  t.end();
});

t.test(
  'nfqueue: a SYN-ACK that comes after the call has turned to the stream carrier is not answered with a RST',
  (t) => {
    const { network, client, answers, sent } = world(t);
    network.fates = [0, 0];
    client.tcp.connect();
    network.run();
    network.retransmit();
    network.pass(1_000);
    client.tcp.retransmit();
    t.equal(client.redirected.length, 1, 'it has turned');
    const late = { sequence: 5_000, acknowledgement: CLIENT_INITIAL + 1, flags: TCP_FLAG.syn | TCP_FLAG.ack };
    client.receive(buildPacket(answers, late));
    t.strictSame(sent('client').filter(isReset), [], 'nat would lead it to the listener');
    client.receive(buildPacket({ ...answers, destinationPort: PORT + 1 }, late));
    t.equal(sent('client').filter(isReset).length, 1, 'one that nobody ever asked for is');
    t.end();
  },
);

t.test('nfqueue: a connection that conntrack has forgotten lives while its socket does', async (t) => {
  const { network, client, server } = world(t);
  client.tcp.connect();
  network.run();
  for (const one of server.proxy.flows.values()) Object.assign(one, { startedAt: one.startedAt - 10_000 });
  server.path.marks.clear();
  await endGoneFlows(server.proxy);
  t.equal(server.proxy.flows.size, 1, 'it is judged again when policy changes');
  client.tcp.write('still here');
  network.run();
  t.equal(server.tcp.received, 'still here');
  t.equal(server.path.marks.size, 1, "and is the kernel's again");
  server.path.marks.clear();
  server.path.socketLives = false;
  await endGoneFlows(server.proxy);
  t.equal(server.proxy.flows.size, 0);
  t.equal(server.pod.records.length, 1);
});
