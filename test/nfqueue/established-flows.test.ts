import t from 'tap';
import { webAndDb } from './web-and-db.ts';

t.test(
  'established flows: both sides hand their verdicts over before they count and keep the connection, and do so in the same turn',
  (t) => {
    const { network, client, server } = webAndDb(t);
    const before = new Map(
      [client, server].map(({ path, pod, kept }) => {
        const counted: number[] = [];
        path.flush = () => void counted.push(pod.counts.length + kept.size);
        return [path, counted];
      }),
    );
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.state, 'established');
    for (const { path, pod, kept, proxy } of [client, server]) {
      t.strictSame(before.get(path), [0]);
      t.equal(pod.counts.length, 1);
      t.equal(kept.size, 1);
      t.equal(proxy.flows.size, 1);
    }
    t.end();
  },
);

for (const held of ['client', 'server'] as const) {
  t.test(
    `established flows: the ${held} counts one whose ports another call has in the very same batch, and ends it with its record`,
    (t) => {
      const { network, client, server } = webAndDb(t);
      const side = network[held];
      const call = (initial: number): void => {
        network.connect({ sourcePort: 40_000, initial, serverInitial: initial * 2 });
        client.tcp.connect();
      };
      call(100_000);
      let fromServer = 0;
      network.onPacket = (bytes, from) => {
        // Behind the server's SYN-ACK comes the client's ACK with the Proof, and behind that the server's Verdict.
        if (from === 'server' && ++fromServer === (held === 'server' ? 1 : 2)) side.path.hold();
        return bytes;
      };
      network.run();
      t.equal(side.pod.counts.length, 0, 'what establishes it is waiting');
      call(500_000);
      network.run();
      side.path.deliver();
      network.run();
      t.equal(client.tcp.state, 'established');
      t.equal(server.tcp.state, 'established');
      t.equal(side.pod.counts.length, 2, 'each was counted once');
      t.equal(side.pod.records.length, 1, 'the older one is over');
      t.equal(side.proxy.flows.size, 1);
      t.equal(side.kept.size, 1);
      t.equal(side.path.undecided, 0);
      t.strictSame(side.defects, []);
      t.end();
    },
  );
}

t.test(
  'established flows: a defect in what is said of one is told, and harms neither its packets nor the next one',
  (t) => {
    const { network, client, server } = webAndDb(t);
    network.connect();
    client.tcp.connect();
    const { pod } = server;
    const real = pod.counts.push.bind(pod.counts);
    pod.counts.push = () => {
      throw new Error('a defect');
    };
    network.run();
    t.equal(client.tcp.state, 'established', 'its packets had their verdicts');
    t.match(server.defects, [{ message: 'a defect' }]);
    pod.counts.push = real;
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.state, 'established');
    t.equal(pod.counts.length, 1);
    t.end();
  },
);
