import fc from 'fast-check';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { loadAddon } from '../../src/native.ts';
import { PROTOCOL } from '../../src/netlink/query-socket.ts';
import { Marks } from '../../src/nfqueue/marks.ts';
import { HOOK, type QueuedPacket } from '../../src/nfqueue/packet-path.ts';
import { foundOf, recordsOf } from '../../src/nfqueue/pass-records.ts';
import { passSettings } from '../../src/nfqueue/pass-settings.ts';
import { finishPacket } from '../../src/nfqueue/packets-checksum.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { runs } from '../support/effort.ts';
import { cannotNetns } from '../support/netns.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { type PassingPods, passingPods, saidOf } from './passing-pods.ts';
import { encodeQueued } from './queue-messages.ts';
import type { Fate } from './queued-network.ts';
import { formatFlags, frameTypes } from './wire-reading.ts';
import { demandTheSame } from './with-and-without.ts';

t.setTimeout(600_000);

/** What happens to one connection. */
interface Scenario {
  /** Fates of its first packets, and of those that are said again. */
  readonly fates: readonly Fate[];
  readonly more: readonly Fate[];
  /** It comes on the ports of the one before. */
  readonly reused: boolean;
  readonly linux: boolean;
  /** All passes are taken back when the SYN is on its way. */
  readonly revoked: boolean;
  /** It comes in a burst: what passes establish is kept back until somebody asks. */
  readonly burst: boolean;
  readonly waited: number;
  /** Changes one byte of one packet; `mended`: and the checksums are right. */
  readonly change?: {
    readonly packet: number;
    readonly at: number;
    readonly by: number;
    readonly mended: boolean;
  };
}

/** What a connection has come to: what its applications see, what the wire bore, what is said of it. */
function outcome(one: PassingPods, from: number): unknown {
  const { client, server, network } = one;
  return {
    states: [client.tcp.state, server.tcp.state],
    received: [client.tcp.received, server.tcp.received],
    wire: network.wire
      .slice(from)
      .map(
        ({ from: who, bytes }) => `${who} ${formatFlags(bytes)} ${bytes.length} ${frameTypes(bytes).join()}`,
      ),
    client: saidOf(client),
    server: saidOf(server),
    fallbacks: [client.fallbacks, server.fallbacks],
    defects: [client, server].flatMap((pod) => [...pod.defects, ...pod.pod.defects].map(String)),
  };
}

let passed = 0;

function run(one: PassingPods, scenario: Scenario, sourcePort: number, index: number): unknown {
  const { network, client, server } = one;
  const from = network.wire.length;
  const before = client.path.passed + server.path.passed;
  network.linux = scenario.linux;
  for (const pod of [client, server]) pod.path.tellsOfPasses = !scenario.burst;
  network.connect({
    sourcePort,
    initial: 1_000_000 * (index + 1),
    serverInitial: 0xffff_fff0 - 1_000_000 * index,
  });
  network.fates = [...scenario.fates];
  const { change } = scenario;
  let seen = 0;
  network.onPacket = (bytes) =>
    change !== undefined && seen++ === change.packet ? changed(bytes, change) : bytes;
  client.tcp.connect();
  if (scenario.revoked) client.pod.proxy!.surroundings.passes.revoke();
  network.run();
  client.tcp.write('question');
  server.tcp.write('answer');
  network.run();
  network.fates = [...scenario.more];
  network.retransmit();
  network.pass(scenario.waited);
  network.fates = [];
  network.retransmit();
  network.retransmit();
  passed += client.path.passed + server.path.passed - before;
  const magic = Buffer.from(FrameFormat.magic).toString('latin1');
  if ([client, server].some(({ tcp }) => tcp.received.includes(magic)))
    throw new Error('identity bytes reached an application');
  for (const [index, pod] of [client, server].entries()) {
    pod.passUser.takeBack();
    // One that is counted and is nobody's would take its place for ever.
    const counted = one.limits[index]?.look().held ?? pod.proxy.flows.size;
    if (counted !== pod.proxy.flows.size)
      throw new Error(`${counted} connections are counted, and there are ${pod.proxy.flows.size}`);
  }
  return outcome(one, from);
}

function changed(bytes: Uint8Array, { at, by, mended }: NonNullable<Scenario['change']>): Uint8Array {
  const result = bytes.slice();
  const place = at % result.length;
  result[place] = result[place]! ^ by;
  const tcpAt = result[0]! >> 4 === 6 ? 40 : 20;
  if (mended && result.length > tcpAt + 20) finishPacket(result, tcpAt === 40 ? 6 : 4, tcpAt);
  return result;
}

function held(scenarios: readonly Scenario[], six: boolean): Promise<void> {
  const addresses = six ? { client: 'fd00::1', server: 'fd00::2' } : {};
  const world = (byPass: boolean): PassingPods => passingPods(byPass, undefined, addresses);
  return demandTheSame(() => [world(true), world(false)], scenarios, 1, run);
}

const fate = fc.constantFrom<Fate>(0, 1, 1, 1, 1, 2, 3);
const seldom = fc.oneof(
  { weight: 7, arbitrary: fc.constant(false) },
  { weight: 1, arbitrary: fc.constant(true) },
);
const scenario = {
  fates: fc.array(fate, { maxLength: 8 }),
  more: fc.array(fate, { maxLength: 6 }),
  reused: seldom,
  linux: seldom.map((other) => !other),
  revoked: seldom,
  burst: fc.boolean(),
  waited: fc.constantFrom(0, 0, 400, 1_000),
};

t.test(
  'nfqueue passes: whatever is lost, doubled or late, it comes to what TypeScript alone comes to',
  async (t) => {
    passed = 0;
    const scenarios = fc.array(fc.record(scenario), { minLength: 1, maxLength: 5 });
    await fc.assert(fc.asyncProperty(scenarios, fc.boolean(), held), { numRuns: runs(60) });
    t.ok(passed > 60, `${passed} packets went by passes`);
  },
);

t.test(
  'nfqueue passes: whatever is changed in a packet, it comes to what TypeScript alone comes to',
  async (t) => {
    passed = 0;
    const change = fc.record({
      packet: fc.constantFrom(0, 0, 1, 1, 2),
      // Headers, options, and what is in the frames.
      at: fc.oneof(fc.nat(63), fc.nat(160), fc.nat(500)),
      by: fc.integer({ min: 1, max: 255 }),
      mended: fc.oneof(
        { weight: 4, arbitrary: fc.constant(true) },
        { weight: 1, arbitrary: fc.constant(false) },
      ),
    });
    const quiet = { ...scenario, fates: fc.constant([]), more: fc.constant([]), revoked: fc.constant(false) };
    const scenarios = fc.array(fc.record({ ...quiet, change }), { minLength: 1, maxLength: 6 });
    await fc.assert(fc.asyncProperty(scenarios, fc.boolean(), held), { numRuns: runs(80) });
    t.ok(passed > 80, `${passed} packets went by passes`);
  },
);

t.test('nfqueue passes: no datagram does harm, whatever is in it', async (t) => {
  const addon = loadAddon();
  const path = new NativeDataPath(addon, NO_EVENTS);
  const queues = path.resumption.openQueues!(passSettings(new Marks(), 3))!;
  const whole = encodeQueued({ ...QUEUED, bytes: new Uint8Array(120).fill(0x45) });
  const cut = fc.tuple(
    fc.nat(whole.length),
    fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 12 }),
  );
  const broken = cut.map(([length, places]) => {
    const bytes = whole.slice(0, length);
    for (const [at, value] of places) if (at < length) bytes[at] = value;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      if (addon.queuePassesTry(queues, bytes) !== undefined)
        throw new Error('something was decided without a pass');
    }),
    { numRuns: runs(3_000) },
  );
  t.equal(addon.queuePassesTake(queues, 0, 0), undefined);
  addon.queuePassesClose(queues);
  t.throws(() => addon.queuePassesTry(queues, whole), { code: 'ECLOSED' });
  await path.close();
});

t.test('nfqueue passes: no records do harm to who asks the kernel about them', (t) => {
  const addon = loadAddon();
  const sockets = [PROTOCOL.socketDiagnosis, PROTOCOL.netfilter].map((protocol) =>
    addon.netlinkOpen(protocol, 0, 1 << 20),
  );
  const four = {
    sourceAddress: Uint8Array.of(192, 0, 2, 1),
    destinationAddress: Uint8Array.of(192, 0, 2, 2),
  };
  const tuple = { family: 4, ...four, sourcePort: 40_000, destinationPort: 7 } as const;
  const many = Array.from({ length: 130 }, (_, index) => ({ tuple, outgoing: index % 2 === 0 }));
  const whole = recordsOf(many, true);
  const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 30 });
  const broken = fc.tuple(fc.nat(whole.length), changes).map(([length, places]) => {
    const bytes = whole.slice(0, length);
    for (const [at, value] of places) if (at < length) bytes[at] = value;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(broken, fc.uint8Array({ maxLength: 300 })), (bytes) => {
      addon.queuePassesEnded(sockets[0]!, sockets[1]!, bytes);
    }),
    { numRuns: runs(300) },
  );
  addon.queuePassesEnded(sockets[0]!, sockets[1]!, whole);
  t.ok(
    cannotNetns() !== false || many.every((_, index) => foundOf(whole, index).ended),
    'nobody has them, and it is known of each',
  );
  for (const socket of sockets) addon.netlinkClose(socket);
  t.end();
});

t.test('nfqueue passes: no sequence of calls does harm, whatever is in them', async (t) => {
  const addon = loadAddon();
  const path = new NativeDataPath(addon, NO_EVENTS);
  const functions = addon as unknown as Record<string, (...values: unknown[]) => unknown>;
  const open = () => path.resumption.openQueues!(passSettings(new Marks(), 3))!;
  const netlink = addon.netlinkOpen(0, 0, 65_536);
  const handles = [open(), open(), netlink, {}, undefined];
  const key = fc.constantFrom('a'.repeat(12), 'b'.repeat(12), 'c'.repeat(36), '', 'short', 'd'.repeat(4_000));
  const number = fc.oneof(fc.nat(3), fc.constantFrom(-1, 2 ** 32 - 1, 2 ** 53, 1e300, Number.NaN));
  const nonsense = fc.anything({ withBigInt: true, withTypedArray: true });
  const argument = fc.oneof(key, number, fc.boolean(), fc.uint8Array({ maxLength: 60 }), nonsense);
  const shapes: [string, fc.Arbitrary<unknown[]>][] = [
    ['queueClaim', fc.tuple(key, number, fc.boolean(), fc.boolean())],
    ['queueRelease', fc.tuple(key, number)],
    ['queuePassesTake', fc.tuple(number, number)],
    ['queuePassesTry', fc.tuple(fc.uint8Array({ maxLength: 60 }))],
    ['queueReveal', fc.tuple(key)],
    ['queuePassesForget', fc.tuple(fc.uint8Array({ maxLength: 400 }))],
    ['queuePassesKeptBack', fc.tuple()],
    ['queuePassesMissing', fc.tuple()],
    ['queueGate', fc.tuple(fc.uint8Array({ maxLength: 400 }), ...Array.from({ length: 5 }, () => number))],
    ['queuePassesOpen', fc.array(argument, { minLength: 14, maxLength: 14 })],
    ['queuePassesClose', fc.tuple()],
  ];
  const call = fc.oneof(
    ...shapes.map(([name, values], index) => ({
      weight: index < 9 ? 6 : 1,
      arbitrary: fc.record({
        name: fc.constant(name),
        handle: fc.oneof({ weight: 8, arbitrary: fc.nat(1) }, fc.nat(4)),
        values: fc.oneof({ weight: 8, arbitrary: values }, fc.array(argument, { maxLength: 15 })),
      }),
    })),
  );
  let done = 0;
  fc.assert(
    fc.property(fc.array(call, { maxLength: 20 }), (calls) => {
      for (const { name, handle, values } of calls) {
        try {
          functions[name]!(handles[handle], ...values);
          done++;
        } catch (error) {
          if (!(error instanceof Error)) throw error;
        }
      }
      for (const index of [0, 1]) {
        addon.queuePassesClose(handles[index] as ReturnType<typeof open>);
        handles[index] = open();
      }
    }),
    { numRuns: runs(150) },
  );
  t.ok(done > 150, `${done} calls did something`);
  await path.close();
  t.equal(addon.queuePassesTry(handles[0] as ReturnType<typeof open>, new Uint8Array(80)), undefined);
  addon.netlinkClose(netlink);
});

const QUEUED: Omit<QueuedPacket, 'bytes'> = {
  queue: 1,
  id: 7,
  hook: HOOK.prerouting,
  mark: 0,
  inInterface: 2,
  outInterface: 0,
  truncated: false,
};
