/** How many connections of queues there may be: whoever begins them, by a pass or not, and from wherever they come. */
import t from 'tap';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { HOOK } from '../../src/nfqueue/packet-path.ts';
import { type BarePasses, bare, NOTHING } from './bare-passes.ts';
import { type PassingPods, passingPods } from './passing-pods.ts';
import { packetOf } from './wire-reading.ts';

const UNBOUNDED = { most: 1_000_000, mostOfSource: 1_000_000, mostAccepted: 1_000_000 };
const MOST = 6;

function pods(t: { teardown: (end: () => Promise<unknown>) => unknown }): PassingPods {
  const one = passingPods();
  t.teardown(() => one.end());
  return one;
}

/** How connections begin: by passes, or by TypeScript because there are none any more. */
const WAYS = [
  ['by passes', () => {}],
  [
    'by TypeScript',
    ({ client, server }: PassingPods) => {
      for (const pod of [client, server]) pod.pod.proxy!.surroundings.passes.revoke();
    },
  ],
] as const;

for (const [way, prepare] of WAYS) {
  for (const at of ['server', 'client'] as const) {
    t.test(`nfqueue limit: ${way}, a ${at} with as many connections as it may have takes no more`, (t) => {
      const one = pods(t);
      const { network, client, server } = one;
      const limit = one.limits[at === 'client' ? 0 : 1]!;
      const direction = at === 'client' ? 'outbound' : 'inbound';
      const bounded = one[at];
      limit.set({ ...UNBOUNDED, most: MOST });
      t.equal(limit.look().held, 2, 'two were there before');
      while (bounded.proxy.flows.size < MOST) {
        prepare(one);
        one.connect();
        t.equal(client.tcp.state, 'established');
      }
      prepare(one);
      const before = [...bounded.proxy.flows.keys()];
      one.connect({ sourcePort: 45_000 });
      t.equal(client.tcp.state, 'syn-sent', 'its SYN is dropped');
      t.equal(server.tcp.state, 'listen');
      t.strictSame([...bounded.proxy.flows.keys()], before, 'those that are open go on');
      t.strictSame(bounded.path.destroyed, [], 'none was cut');
      t.equal(limit.look().held, MOST);
      t.strictSame(limit.look().refused, {
        all: { inbound: 0, outbound: 0, [direction]: 1 },
        source: { inbound: 0, outbound: 0 },
      });

      // One ends: there is room for one.
      bounded.proxy.end([...bounded.proxy.flows.values()][0]!);
      t.equal(limit.look().held, MOST - 1);
      network.retransmit();
      t.equal(client.tcp.state, 'established', 'TCP said its SYN again');
      client.tcp.write('hello');
      network.run();
      t.equal(server.tcp.received, 'hello');
      t.equal(limit.look().held, MOST);
      prepare(one);
      one.connect({ sourcePort: 45_001 });
      t.equal(client.tcp.state, 'syn-sent', 'and not for two');
      t.strictSame([...client.defects, ...server.defects], []);
      t.end();
    });
  }

  t.test(`nfqueue limit attack: ${way}, who calls without end has his share and no more`, (t) => {
    const one = pods(t);
    const { client, server } = one;
    const limit = one.limits[1]!;
    limit.set({ ...UNBOUNDED, most: 20, mostOfSource: 15 });
    for (let number = 0; number < 200; number++) {
      if (number % 10 === 0) prepare(one);
      one.connect({ sourcePort: 46_000 + number });
    }
    t.equal(server.proxy.flows.size, 15);
    const { held, refused, fullest } = limit.look();
    t.equal(held, 15);
    t.equal(refused.source.inbound, 187, 'two connections were there before');
    t.equal(refused.all.inbound, 0);
    t.strictSame(fullest, { address: client.pod.address, held: 15 });

    // He reuses ports of his own: what is there is replaced, and nothing grows.
    for (let number = 0; number < 100; number++)
      one.connect({ sourcePort: 46_000 + (number % 5), initial: 7_000_000 + 1_000 * number });
    t.equal(server.proxy.flows.size, 15);
    t.equal(limit.look().held, 15);
    t.strictSame(server.defects, []);
    t.end();
  });
}

/** A SYN with a Hello for the bare passes, from another source address. */
function from(one: BarePasses, last: number): Uint8Array {
  const address = `10.0.0.${last}`;
  one.passInbound({ peer: address });
  const bytes = one.syn(false, one.hello());
  bytes.set(addressBytes(address)!, 12);
  return one.finish(bytes);
}

const isDropped = (one: BarePasses, bytes: Uint8Array): boolean =>
  one.decide(bytes, false)?.bytes.length === 0;

t.test('nfqueue limit: a share is of one source address, and all together have the bound', (t) => {
  const one = bare(t);
  const { limit } = one.dataPath;
  limit.set({ ...UNBOUNDED, most: 5, mostOfSource: 3 });
  for (let number = 0; number < 3; number++) t.notOk(isDropped(one, from(one, 11)));
  t.ok(isDropped(one, from(one, 11)), 'its share is had');
  t.notOk(isDropped(one, from(one, 12)), 'others have room');
  t.notOk(isDropped(one, from(one, 13)));
  t.ok(isDropped(one, from(one, 14)), 'until there is none');
  const { held, refused } = limit.look();
  t.equal(held, 5);
  t.strictSame([refused.source.inbound, refused.all.inbound], [1, 1]);
  t.end();
});

t.test('nfqueue limit: what is beyond it, and is no Hello of somebody, is left to TypeScript', (t) => {
  const one = bare(t);
  one.dataPath.limit.set({ ...UNBOUNDED, most: 0 });
  one.passInbound();
  one.passOutbound();
  t.equal(one.decide(one.syn(false, NOTHING), false), undefined, 'a SYN for the listener');
  t.equal(
    one.decide(one.syn(true, NOTHING), true),
    undefined,
    'a call of the pod, which may be one for the listener',
  );
  const { refused } = one.dataPath.limit.look();
  t.strictSame(refused.all, { inbound: 0, outbound: 0 }, 'they are counted where they are refused');
  t.end();
});

t.test('nfqueue limit: TypeScript drops a Hello beyond it that the addon has not decided', (t) => {
  const one = pods(t);
  const { client, server, network } = one;
  // The SYN is taken off the wire, and comes as one that the addon has left to TypeScript.
  network.fates = [0];
  one.connect({ sourcePort: 47_000 });
  const syn = network.wire.at(-1)!.bytes;
  t.equal(packetOf(syn).sourcePort, 47_000);
  one.limits[1]!.set({ ...UNBOUNDED, most: 2 });
  const queued = {
    queue: 0,
    id: 999,
    hook: HOOK.prerouting,
    mark: 0,
    inInterface: 2,
    outInterface: 0,
    bytes: syn,
    truncated: false,
  };
  server.proxy.packets([queued]);
  t.equal(server.proxy.flows.size, 2);
  t.equal(one.limits[1]!.look().refused.all.inbound, 1);
  t.strictSame([...client.defects, ...server.defects], []);
  t.end();
});

t.test('nfqueue limit: connections of an earlier run count, and each leaves room when it ends', (t) => {
  const one = pods(t);
  const { server } = one;
  const limit = one.limits[1]!;
  // Taken over with nothing known of their SYNs, as from the file.
  for (const flow of server.proxy.flows.values()) flow.initial = undefined;
  const adopted = [...server.proxy.flows.values()];
  for (const flow of adopted) server.proxy.adopt(flow);
  t.equal(limit.look().held, 2);
  limit.set({ ...UNBOUNDED, most: 2 });
  one.connect();
  t.equal(one.client.tcp.state, 'syn-sent');
  limit.set({ ...UNBOUNDED, most: 1 });
  t.equal(server.proxy.flows.size, 2, 'a smaller bound cuts nobody');
  for (const [left, flow] of [
    [1, adopted[0]!],
    [0, adopted[1]!],
  ] as const) {
    server.proxy.end(flow);
    t.equal(limit.look().held, left);
  }
  t.end();
});
