/** What handshakes under way hold at most, whoever begins them. */
import t from 'tap';
import { MOST_WAITING } from '../../src/nfqueue/flow-table.ts';
import { heldBytes } from '../support/held-bytes.ts';
import { webAndDb } from './web-and-db.ts';

const BEYOND = 200;
const BYTES_OF_ONE = 8_192;

t.test(
  'nfqueue: calls beyond what may be under way wait for their next SYN, and what is under way is small',
  (t) => {
    const { network, client } = webAndDb(t);
    const call = (sourcePort: number): void => {
      network.fates = [0];
      network.connect({ sourcePort });
      client.tcp.connect();
      network.wire.length = 0;
    };
    const before = heldBytes();
    for (let number = 0; number < MOST_WAITING + BEYOND; number++) call(10_000 + number);
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
