/** Calls to a Service of one to eight pods: passes of the addon come to what TypeScript alone comes to, whatever the network and the peers do. */
import fc from 'fast-check';
import t from 'tap';
import { finishPacket } from '../../src/nfqueue/packets-checksum.ts';
import { FrameFormat } from '../../src/handshake/format.ts';
import { runs } from '../support/effort.ts';
import { type Alteration, ALTERATIONS, withAlteredOffers } from './altered-offers.ts';
import { saidOf } from './passing-pods.ts';
import type { Fate } from './queued-network.ts';
import { ServicePods } from './service-pods.ts';
import { formatFlags, frameTypes } from './wire-reading.ts';
import { demandTheSame } from './with-and-without.ts';

t.setTimeout(600_000);

/** What happens to one call. */
interface Scenario {
  /** Which of the servers it is led to, counted around. */
  readonly to: number;
  readonly fates: readonly Fate[];
  readonly more: readonly Fate[];
  readonly reused: boolean;
  readonly revoked: boolean;
  /** What passes establish is kept back until somebody asks. */
  readonly burst: boolean;
  readonly waited: number;
  /** One byte of one packet is another. */
  readonly change?: {
    readonly packet: number;
    readonly at: number;
    readonly by: number;
    readonly mended: boolean;
  };
  /** The Hello has other offers when it arrives. */
  readonly alteration?: { readonly how: Alteration; readonly sealed: boolean; readonly which: number };
  /** The SYN comes once more, to this server, from so many ports further. */
  readonly replay?: { readonly to: number; readonly ports: number };
}

function outcome(pods: ServicePods, from: number): unknown {
  return {
    states: pods.all.map(({ tcp }) => tcp.state),
    received: pods.all.map(({ tcp }) => tcp.received),
    wire: pods.wire
      .slice(from)
      .map(
        ({ from: who, bytes }) => `${who} ${formatFlags(bytes)} ${bytes.length} ${frameTypes(bytes).join()}`,
      ),
    said: pods.all.map(saidOf),
    fallbacks: pods.all.map(({ fallbacks }) => fallbacks),
    defects: pods.all.flatMap((one) => [...one.defects, ...one.pod.defects].map(String)),
  };
}

let passed = 0;

function run(pods: ServicePods, scenario: Scenario, sourcePort: number, index: number): unknown {
  const to = scenario.to % pods.servers.length;
  const from = pods.wire.length;
  const before = sum(pods.passed);
  for (const { path } of pods.all) path.tellsOfPasses = !scenario.burst;
  pods.open({
    to,
    sourcePort,
    initial: 1_000_000 * (index + 1),
    serverInitial: 0xffff_fff0 - 1_000_000 * index,
  });
  pods.fates = [...scenario.fates];
  const { change, alteration, replay } = scenario;
  let seen = 0;
  let syn: Uint8Array | undefined;
  pods.onPacket = (bytes, who) => {
    const place = seen++;
    const arriving =
      alteration !== undefined && who === 'client'
        ? withAlteredOffers(pods, bytes, alteration.how, alteration.sealed, alteration.which)
        : change !== undefined && place === change.packet
          ? changed(bytes, change)
          : bytes;
    syn ??= arriving;
    return arriving;
  };
  pods.client.tcp.connect();
  if (scenario.revoked) pods.client.pod.proxy!.surroundings.passes.revoke();
  pods.run();
  pods.client.tcp.write('question');
  pods.servers[to]!.tcp.write('answer');
  pods.run();
  if (replay !== undefined && syn !== undefined)
    pods.deliver(fromPort(syn, sourcePort + replay.ports), replay.to % pods.servers.length);
  pods.fates = [...scenario.more];
  pods.retransmit(to);
  pods.pass(scenario.waited);
  pods.fates = [];
  pods.retransmit(to);
  pods.retransmit(to);
  passed += sum(pods.passed) - before;
  const magic = Buffer.from(FrameFormat.magic).toString('latin1');
  if (pods.all.some(({ tcp }) => tcp.received.includes(magic)))
    throw new Error('identity bytes reached an application');
  for (const { passUser } of pods.all) passUser.takeBack();
  return outcome(pods, from);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

function changed(bytes: Uint8Array, { at, by, mended }: NonNullable<Scenario['change']>): Uint8Array {
  const result = bytes.slice();
  result[at % result.length]! ^= by;
  return mended ? finished(result) : result;
}

function fromPort(syn: Uint8Array, port: number): Uint8Array {
  const result = syn.slice();
  new DataView(result.buffer).setUint16(tcpAt(result), port);
  return finished(result);
}

function finished(bytes: Uint8Array): Uint8Array {
  if (bytes.length > tcpAt(bytes) + 20) finishPacket(bytes, tcpAt(bytes) === 40 ? 6 : 4, tcpAt(bytes));
  return bytes;
}

function tcpAt(bytes: Uint8Array): number {
  return bytes[0]! >> 4 === 6 ? 40 : 20;
}

/** Ports between are for replays. */
const PORTS_BETWEEN = 4;

function held(scenarios: readonly Scenario[], servers: number, six: boolean): Promise<void> {
  const world = (byPass: boolean): ServicePods => {
    const pods = new ServicePods(servers, byPass, six);
    pods.warm();
    return pods;
  };
  return demandTheSame(() => [world(true), world(false)], scenarios, PORTS_BETWEEN, run);
}

const fate = fc.constantFrom<Fate>(0, 1, 1, 1, 1, 2, 3);
const seldom = fc.oneof(
  { weight: 7, arbitrary: fc.constant(false) },
  { weight: 1, arbitrary: fc.constant(true) },
);
const servers = fc.integer({ min: 1, max: 8 });
const replay = fc.option(fc.record({ to: fc.nat(7), ports: fc.integer({ min: 0, max: 3 }) }), {
  nil: undefined,
});
const quiet = {
  to: fc.nat(7),
  fates: fc.constant<Fate[]>([]),
  more: fc.constant<Fate[]>([]),
  reused: seldom,
  revoked: fc.constant(false),
  burst: fc.boolean(),
  waited: fc.constantFrom(0, 0, 400, 1_000),
};
const FUZZED: readonly (readonly [string, fc.Arbitrary<Scenario>])[] = [
  [
    'whatever is lost, doubled, late or replayed to whichever pod',
    fc.record({
      ...quiet,
      fates: fc.array(fate, { maxLength: 8 }),
      more: fc.array(fate, { maxLength: 6 }),
      revoked: seldom,
      replay,
    }) as fc.Arbitrary<Scenario>,
  ],
  [
    'whatever is changed in a packet',
    fc.record({
      ...quiet,
      change: fc.record({
        packet: fc.constantFrom(0, 0, 1, 1, 2),
        // Headers, the token, offers and binders.
        at: fc.oneof(fc.nat(63), fc.nat(160), fc.integer({ min: 340, max: 720 })),
        by: fc.integer({ min: 1, max: 255 }),
        mended: fc.constantFrom(true, true, true, false),
      }),
    }),
  ],
  [
    'whichever sessions a Hello offers, at whatever place, with whatever counters and count',
    fc.record({
      ...quiet,
      alteration: fc.record({
        how: fc.constantFrom(...ALTERATIONS),
        sealed: fc.constantFrom(true, true, false),
        which: fc.nat(7),
      }),
      replay,
    }) as fc.Arbitrary<Scenario>,
  ],
];

for (const [what, scenario] of FUZZED) {
  t.test(`nfqueue passes to a Service: ${what}, it comes to what TypeScript alone comes to`, async (t) => {
    passed = 0;
    const scenarios = fc.array(scenario, { minLength: 1, maxLength: 6 });
    await fc.assert(fc.asyncProperty(scenarios, servers, fc.boolean(), held), { numRuns: runs(25) });
    t.ok(passed > 25, `${passed} packets went by passes`);
  });
}
