/** A hundred thousand flows in one table: what they hold, and what it costs to look after them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import { endGoneFlows } from '../../src/nfqueue/ended-flows.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { tupleKey } from '../../src/nfqueue/flow-key.ts';
import type { FlowTuple } from '../../src/nfqueue/packet-path.ts';
import { QueuedFlow } from '../../src/nfqueue/queued-flow.ts';
import type { FlowFacts } from '../../src/proxy/flow.ts';
import { allowed } from '../../src/proxy/judgement.ts';
import { heldBytes } from '../support/held-bytes.ts';
import { webAndDb } from './web-and-db.ts';

const FLOWS = 100_000;
const BYTES_OF_A_FLOW = 3_072;
/** Established, and looked at in conntrack. */
const OPEN = 3;

t.test('nfqueue: a hundred thousand flows are held, looked after and forgotten', async (t) => {
  const { network, client, server } = webAndDb(t);
  const { sink } = server.pod.proxy!.surroundings;
  const [from, to] = [addressBytes(client.pod.address)!, addressBytes(server.pod.address)!];
  const long = performance.now() - 3_600_000;
  const before = heldBytes();
  for (let number = 0; number < FLOWS; number++) {
    const tuple: FlowTuple = {
      family: 4,
      sourceAddress: from.slice(),
      sourcePort: 1_024 + (number % 50_000),
      destinationAddress: to.slice(),
      destinationPort: 80 + Math.floor(number / 50_000),
    };
    const facts: FlowFacts = {
      direction: 'inbound',
      peer: 'proven',
      handshake: 'resumed',
      source: { address: client.pod.address, port: tuple.sourcePort },
      destination: { address: server.pod.address, port: tuple.destinationPort },
    };
    const one = new QueuedFlow(tupleKey(tuple, false), tuple, sink, facts, server.proxy.cut, long);
    one.settle();
    one.established = true;
    one.verified = true;
    one.flow.resume(allowed('not-isolated'));
    server.proxy.adopt(one);
  }
  // What the simulation keeps of them (tuple, mark, name) is among it.
  const each = (heldBytes() - before) / FLOWS;
  t.comment(`${Math.round(each)} bytes each`);
  t.ok(each < BYTES_OF_A_FLOW, `${Math.round(each)} bytes each`);
  t.equal(server.proxy.flows.size, FLOWS);

  let turns = 0;
  const looked = new AbortController();
  const others = (async () => {
    while (!looked.signal.aborted) {
      await nextTurn();
      turns++;
    }
  })();
  server.path.tcpState = OPEN;
  await endGoneFlows(server.proxy);
  t.ok(turns >= FLOWS / 1_000, `others had ${turns} turns meanwhile`);
  t.equal(server.proxy.flows.size, FLOWS, 'none has ended');

  network.connect();
  client.tcp.connect();
  client.tcp.write('one more');
  network.run();
  t.equal(server.tcp.received, 'one more', 'a new one is served');

  server.path.marks.clear();
  server.path.socketLives = false;
  turns = 0;
  await endGoneFlows(server.proxy);
  looked.abort();
  await others;
  t.ok(turns >= FLOWS / 1_000, `others had ${turns} turns meanwhile`);
  const { length: ended } = server.pod.records;
  t.ok(ended >= FLOWS, 'all have ended, but for the newest perhaps');
  t.equal(server.proxy.flows.size, FLOWS + 1 - ended, 'each is held, or has its record');
});
