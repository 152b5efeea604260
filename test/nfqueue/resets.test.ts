/** RSTs in every state of a handshake on packets: those that a kernel would believe end it on both sides, others change nothing. */
import t, { type Test } from 'tap';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import type { FlowTuple } from '../../src/nfqueue/packet-path.ts';
import { buildReset } from '../../src/nfqueue/packets-build.ts';
import { reversedTuple, sequenceAdd } from '../../src/nfqueue/packets.ts';
import type { QueuedNetwork } from './queued-network.ts';
import { webAndDb } from './web-and-db.ts';

const INITIAL = 0xffff_fff0;
const SERVER_INITIAL = 7;
const PORT = 40_500;

function world(t: Test) {
  const { network } = webAndDb(t);
  network.connect({ initial: INITIAL, serverInitial: SERVER_INITIAL, sourcePort: PORT });
  const toServer: FlowTuple = {
    family: 4,
    sourceAddress: addressBytes(network.client.pod.address)!,
    sourcePort: PORT,
    destinationAddress: addressBytes(network.server.pod.address)!,
    destinationPort: 80,
  };
  return { network, toServer, toClient: reversedTuple(toServer) };
}

/** After whatever was lost is said again, the connection is what it would have been. */
function comesThrough(t: Test, network: QueuedNetwork): void {
  const { client, server } = network;
  for (let round = 0; round < 4; round++) network.retransmit();
  t.equal(server.tcp.received, 'data');
  t.strictSame(server.pod.counts, ['inbound allow policy-allowed proven full']);
  t.strictSame(client.pod.counts, ['outbound allow not-isolated proven full']);
}

t.test('nfqueue: a RST that answers the SYN ends the call, any other one does not', (t) => {
  for (const { acknowledgement, ends } of [
    { acknowledgement: sequenceAdd(INITIAL, 1), ends: true },
    { acknowledgement: INITIAL, ends: false },
    { acknowledgement: sequenceAdd(INITIAL, 2), ends: false },
    { acknowledgement: undefined, ends: false },
  ]) {
    const { network, toClient } = world(t);
    const { client } = network;
    network.fates = [0];
    client.tcp.connect();
    client.tcp.write('data');
    network.run();
    client.receive(buildReset(toClient, { sequence: 0, ...(acknowledgement && { acknowledgement }) }));
    t.equal(client.tcp.state, ends ? 'reset' : 'syn-sent', String(acknowledgement));
    if (ends) t.strictSame(client.pod.counts, ['outbound deny refused-by-peer unproven none']);
    else comesThrough(t, network);
    t.equal(client.pod.records.length, ends ? 1 : 0, 'what is open has no record yet');
  }
  t.end();
});

t.test(
  "nfqueue: a RST of the server's next number ends a call whose Proof was not heard, others do not",
  (t) => {
    for (const { sequence, ends } of [
      { sequence: sequenceAdd(SERVER_INITIAL, 1), ends: true },
      { sequence: SERVER_INITIAL, ends: false },
      { sequence: sequenceAdd(SERVER_INITIAL, 2), ends: false },
      { sequence: 0, ends: false },
    ]) {
      const { network, toClient } = world(t);
      const { client } = network;
      // SYN and SYN-ACK arrive; the Proof, alone and with the data, does not.
      network.fates = [1, 1, 0, 0];
      client.tcp.connect();
      client.tcp.write('data');
      network.run();
      client.receive(buildReset(toClient, { sequence }));
      t.equal(client.tcp.state, ends ? 'reset' : 'established', String(sequence));
      if (ends) t.strictSame(client.pod.counts, ['outbound deny refused-by-peer proven full']);
      else comesThrough(t, network);
      t.equal(client.pod.records.length, ends ? 1 : 0);
    }
    t.end();
  },
);

t.test("nfqueue: a RST of the client's next number ends what waits for a Proof, others do not", (t) => {
  for (const { sequence, ends } of [
    { sequence: sequenceAdd(INITIAL, 1), ends: true },
    { sequence: INITIAL, ends: false },
    { sequence: sequenceAdd(INITIAL, 2), ends: false },
  ]) {
    const { network, toServer } = world(t);
    const { client, server } = network;
    network.fates = [1, 1, 0, 0];
    client.tcp.connect();
    client.tcp.write('data');
    network.run();
    t.equal(server.tcp.state, 'syn-received');
    server.receive(buildReset(toServer, { sequence }));
    t.equal(server.tcp.state, ends ? 'reset' : 'syn-received', String(sequence));
    if (ends) {
      t.strictSame(server.pod.counts, ['inbound deny handshake-aborted unproven none']);
      network.retransmit();
      t.equal(server.tcp.received, '', 'a Proof that comes later opens nothing');
      t.equal(client.tcp.state, 'reset', 'and the client is told');
    } else comesThrough(t, network);
  }
  t.end();
});

t.test('nfqueue: an open connection is ended by its kernels alone, to whom every RST goes as it is', (t) => {
  for (const side of ['client', 'server'] as const) {
    const { network, toServer, toClient } = world(t);
    const { client, server } = network;
    client.tcp.connect();
    client.tcp.write('data');
    network.run();
    t.equal(server.tcp.received, 'data');
    const pod = network[side];
    const tuple = side === 'client' ? toClient : toServer;
    pod.receive(buildReset(tuple, { sequence: sequenceAdd(pod.tcp.expected, 5_000) }));
    t.equal(pod.tcp.state, 'established', 'one outside of the window is not believed');
    pod.receive(buildReset(tuple, { sequence: pod.tcp.expected }));
    t.equal(pod.tcp.state, 'reset');
    t.strictSame([...client.defects, ...server.defects], []);
  }
  t.end();
});

t.test('nfqueue: with its options full a SYN and a SYN-ACK bear identity all the same', (t) => {
  for (const more of [
    Array.from({ length: 36 }, () => 1),
    // An application's own Fast Open with the longest cookie, and no room beside it.
    [34, 18, ...Array.from({ length: 16 }, (_, at) => at), ...Array.from({ length: 18 }, () => 1)],
  ]) {
    const { network } = world(t);
    network.client.tcp.synOptions = more;
    network.server.tcp.synOptions = more.map(() => 1);
    network.client.tcp.connect();
    network.client.tcp.write('data');
    network.run();
    comesThrough(t, network);
    t.strictSame(network.client.fallbacks, []);
  }
  t.end();
});
