/** What handshakes under way hold at most, whoever begins them. */
import t from 'tap';
import { MOST_AT_ONCE } from '../../src/nfqueue/first-calls.ts';
import { MOST_WAITING } from '../../src/nfqueue/flow-table.ts';
import { heldBytes } from '../support/held-bytes.ts';
import { webAndDb } from './web-and-db.ts';

const BEYOND = 200;
const BYTES_OF_ONE = 8_192;

t.test(
  'nfqueue: calls beyond what may be under way wait for their next SYN, and what is under way is small',
  (t) => {
    const { simulation, network, client } = webAndDb(t);
    // So few calls to one address are under way at once.
    const others = Array.from({ length: (MOST_WAITING + BEYOND) / MOST_AT_ONCE + 1 }, (_, number) => {
      const other = simulation.pod(`other-${number}`, { app: 'db' });
      other.pod = { ...other.pod, nfqueue: true };
      other.believed = other.pod;
      return other.address;
    });
    simulation.publish();
    const call = (number: number): void => {
      network.fates = [0];
      network.connect({ sourcePort: 10_000 + number, to: others[number % others.length]! });
      client.tcp.connect();
      network.wire.length = 0;
    };
    const before = heldBytes();
    for (let number = 0; number < MOST_WAITING + BEYOND; number++) call(number);
    t.equal(client.proxy.flows.size, MOST_WAITING);
    const each = (heldBytes() - before) / MOST_WAITING;
    t.comment(`${Math.round(each)} bytes each`);
    t.ok(each < BYTES_OF_ONE, `${Math.round(each)} bytes each`);
    t.equal(client.path.undecided, 0, 'each SYN has its verdict');

    // Whoever gives up leaves room.
    client.proxy.tick({ monotonic: performance.now() + 60_000, epochSeconds: 1_800_000_000 });
    t.equal(client.proxy.flows.size, 0);
    network.fates = [];
    network.connect({ sourcePort: 9_000 });
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.state, 'established');
    t.strictSame(client.defects, []);
    t.end();
  },
);
