/** What the addon drops before TypeScript is called: by the limits that TypeScript has set, and nothing of who is known. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { loadAddon } from '../../src/native.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { tupleKey } from '../../src/nfqueue/flow-key.ts';
import { type GateLimits, gateLimits } from '../../src/nfqueue/gate.ts';
import { Marks } from '../../src/nfqueue/marks.ts';
import { type FlowTuple, HOOK } from '../../src/nfqueue/packet-path.ts';
import { buildPacket } from '../../src/nfqueue/packets-build.ts';
import { TCP_FLAG } from '../../src/nfqueue/packets.ts';
import { passSettings } from '../../src/nfqueue/pass-settings.ts';
import { QueuePasses } from '../../src/nfqueue/queue-passes.ts';
import { Strangers } from '../../src/nfqueue/strangers.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';
import { encodeVerdict, VERDICT } from '../../src/netlink/queue.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { runs } from '../support/effort.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { encodeQueued } from './queue-messages.ts';

const KEY = randomBytes(32);
const OTHER_KEY = randomBytes(32);
const SERVER = { 4: '10.0.0.2', 6: 'fd00::2' } as const;
const CLIENT = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
/** Nothing at all is wanted. */
const CLOSED: GateLimits = {
  admissionKeys: [OTHER_KEY, KEY],
  strangers: 0,
  perSource: { perSecond: 1_000_000, burst: 1_000_000 },
  unadmittedPerSecond: 0,
  straysPerSecond: 0,
};

function gate(t: { teardown: (end: () => Promise<unknown>) => unknown }) {
  const path = new NativeDataPath(loadAddon(), NO_EVENTS);
  const passes = new QueuePasses(loadAddon(), path.resumption.openQueues!(passSettings(new Marks(), 3))!);
  t.teardown(async () => {
    passes.close();
    await path.close();
  });
  return passes;
}

function tuple(family: 4 | 6 = 4, source: string = CLIENT[family], sourcePort = 40_000): FlowTuple {
  return {
    family,
    sourceAddress: addressBytes(source)!,
    sourcePort,
    destinationAddress: addressBytes(SERVER[family])!,
    destinationPort: 80,
  };
}

function hello(admissionKey: Uint8Array): Uint8Array {
  return buildHello({
    wishes: { encryption: 'none' },
    carrier: 'syn',
    nonce: randomBytes(32),
    ephemeral: NODE_CURVES.generateEphemeral().publicKey,
    destination: { address: SERVER[4], port: 80 },
    cookie: new Uint8Array(0),
    token: randomBytes(400),
    offers: [],
    admissionKey,
  });
}

let ids = 0;
function queued(of: FlowTuple, flags: number, payload: Uint8Array = new Uint8Array(0), outgoing = false) {
  const segment = { sequence: 7, acknowledgement: 0, flags, window: 65_535, payload };
  const hook = outgoing ? HOOK.output : HOOK.prerouting;
  const [inInterface, outInterface] = outgoing ? [0, 2] : [2, 0];
  const bytes = buildPacket(of, segment);
  return {
    id: ++ids,
    queue: 14_101,
    hook,
    inInterface,
    outInterface,
    mark: 0,
    truncated: false,
    bytes,
  } as const;
}

/** Whether the addon drops a packet, with the very message that TypeScript would have written. */
function drops(passes: QueuePasses, packet: ReturnType<typeof queued>): boolean {
  const orders = passes.decide(encodeQueued(packet));
  if (orders === undefined) return false;
  const writer = new MessageWriter();
  encodeVerdict(writer, packet, VERDICT.drop, {}, 0);
  if (!Buffer.from(orders).equals(writer.take())) throw new Error('that is no drop of this packet');
  return true;
}

/** How many of so many packets come to TypeScript. */
function heard(passes: QueuePasses, packets: readonly ReturnType<typeof queued>[]): number {
  return packets.filter((packet) => !drops(passes, packet)).length;
}

t.test('gate: before TypeScript has set limits, nothing is dropped', (t) => {
  const passes = gate(t);
  for (const payload of [hello(KEY), hello(randomBytes(32)), new Uint8Array(0)]) {
    t.notOk(drops(passes, queued(tuple(), TCP_FLAG.syn, payload)));
  }
  t.notOk(drops(passes, queued(tuple(), TCP_FLAG.ack)));
  t.end();
});

t.test('gate: garbage and strays come at their rate, and cost a right Hello nothing', (t) => {
  const passes = gate(t);
  passes.limit({ ...CLOSED, strangers: 1_000, unadmittedPerSecond: 3, straysPerSecond: 5 });
  const wrong = hello(randomBytes(32));
  const garbage = Array.from({ length: 200 }, (_, index) =>
    queued(tuple(4, `10.1.0.${index}`), TCP_FLAG.syn, wrong),
  );
  const strays = [TCP_FLAG.ack, TCP_FLAG.syn | TCP_FLAG.ack, TCP_FLAG.rst, TCP_FLAG.fin].flatMap((flags) =>
    Array.from({ length: 50 }, (_, index) => queued(tuple(6, `fd00::1:${index}`), flags)),
  );
  // A second more is three and five more.
  const within = (count: number, rate: number): boolean => count >= rate && count < 40 + rate;
  t.ok(within(heard(passes, garbage), 3));
  t.ok(within(heard(passes, strays), 5));
  t.equal(heard(passes, [queued(tuple(), TCP_FLAG.syn, hello(KEY))]), 1);
  t.ok(passes.limit(CLOSED) > 300, 'what was dropped is told');
  t.equal(passes.limit(CLOSED), 0, 'once');
  t.end();
});

t.test('gate: right Hellos come as many as there is time for, and so many from one address', (t) => {
  const passes = gate(t);
  const right = hello(KEY);
  const calls = (source: (index: number) => string) =>
    Array.from({ length: 100 }, (_, index) => queued(tuple(4, source(index)), TCP_FLAG.syn, right));
  passes.limit({ ...CLOSED, strangers: 40 });
  t.equal(
    heard(
      passes,
      calls((index) => `10.2.0.${index}`),
    ),
    40,
  );
  passes.limit({ ...CLOSED, strangers: 1_000, perSource: { perSecond: 1, burst: 20 } });
  const ofOne = heard(
    passes,
    calls(() => '10.3.0.1'),
  );
  t.ok(ofOne >= 20 && ofOne < 60, `${ofOne} of one address`);
  t.equal(
    heard(
      passes,
      calls((index) => `10.4.0.${index}`),
    ),
    100,
    'which takes nothing of the others',
  );
  t.end();
});

t.test('gate: who has proven itself is heard whatever it sends, and so is who speaks no preamble', (t) => {
  const passes = gate(t);
  passes.limit(CLOSED);
  for (const family of [4, 6] as const) {
    const of = tuple(family);
    const packets = [
      queued(tuple(family, CLIENT[family], 41_000), TCP_FLAG.syn, hello(KEY)),
      queued(tuple(family, CLIENT[family], 41_001), TCP_FLAG.ack),
    ];
    t.equal(heard(passes, packets), 0, 'a stranger');
    const key = tupleKey(of, false);
    passes.claim(key, 7, false, true);
    t.equal(heard(passes, [queued(of, TCP_FLAG.ack)]), 1, 'a connection that TypeScript has');
    t.equal(heard(passes, packets), 0, 'a stranger whose handshake is under way');
    passes.claim(key, 7, false, false);
    t.equal(heard(passes, packets), 2, 'a friend');
    passes.release(key, 7);
    t.equal(heard(passes, packets), 2, 'a friend whose connection is over');
  }
  const plain = [new Uint8Array(0), Buffer.from('GET / HTTP/1.1\r\n\r\n')];
  t.equal(
    heard(
      passes,
      plain.map((payload) => queued(tuple(4, '10.5.0.1'), TCP_FLAG.syn, payload)),
    ),
    2,
  );
  t.equal(heard(passes, [queued(tuple(4, '10.5.0.2'), TCP_FLAG.ack, undefined, true)]), 1, 'and the own pod');
  t.end();
});

t.test('gate: somebody known keeps the place, whoever else comes', (t) => {
  const passes = gate(t);
  passes.limit({ ...CLOSED, strangers: 1_000_000 });
  passes.claim(tupleKey(tuple(), false), 7, false, false);
  const right = hello(KEY);
  for (let index = 0; index < 20_000; index++) {
    drops(passes, queued(tuple(4, `10.6.${index >> 8}.${index & 255}`), TCP_FLAG.syn, right));
  }
  passes.limit(CLOSED);
  t.notOk(drops(passes, queued(tuple(4, CLIENT[4], 42_000), TCP_FLAG.syn, right)));
  t.end();
});

t.test('gate: no datagram does harm, whatever is in it', (t) => {
  const passes = gate(t);
  passes.limit(CLOSED);
  const whole = encodeQueued(queued(tuple(), TCP_FLAG.syn, hello(KEY)));
  const broken = fc
    .tuple(fc.nat(whole.length), fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 12 }))
    .map(([length, places]) => {
      const bytes = whole.slice(0, length);
      for (const [at, value] of places) if (at < length) bytes[at] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      const orders = passes.decide(bytes);
      return orders === undefined || orders.length === 32;
    }),
    { numRuns: runs(3_000) },
  );
  t.end();
});

t.test(
  'gate: there is room for as many strangers as there is time for, and for a few where time is owed',
  (t) => {
    const strangers = new Strangers();
    const room = (now: number): number => gateLimits(strangers, [KEY], now).strangers;
    t.ok(room(10_000) >= 2_000, 'a crowd');
    for (let count = 0; count < 3_000; count++) strangers.spent(1);
    t.ok(room(10_000) > 0 && room(10_000) < 20, 'a few');
    t.ok(room(12_000) > 150 && room(12_000) < 250, 'by what one has cost');
    t.end();
  },
);
