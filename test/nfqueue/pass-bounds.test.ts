/** Who changes one thing about the packet that a pass would let through: the addon alone, without TypeScript, which looks at what is left. */
import t from 'tap';
import { flowKey } from '../../src/nfqueue/flow-key.ts';
import { passSettings } from '../../src/nfqueue/pass-settings.ts';
import type { MarkOrder } from '../../src/relay/resumption.ts';
import { packetOf } from './wire-reading.ts';
import { bare, BarePasses, begun, helloIn, NOTHING } from './bare-passes.ts';
import { passingPods } from './passing-pods.ts';
import { MARKS } from './queued-network.ts';

const FAMILIES = [
  ['IPv4', false],
  ['IPv6', true],
] as const;

/** A packet in which somebody changed something; `unfinished`: without right checksums and lengths. */
interface Change {
  readonly what: string;
  readonly edit: (bytes: Uint8Array, tcpAt: number) => void;
  readonly unfinished?: true;
  readonly family?: 4 | 6;
}

const MSS_AT = 22;

/** What is no SYN or SYN-ACK as Linux writes them, or not whole, or could be read in two ways. */
const CHANGES: readonly Change[] = [
  ...[1, 4, 8, 32].map((flag) => ({
    what: `flag ${flag}`,
    edit: (bytes: Uint8Array, tcpAt: number) => void (bytes[tcpAt + 13]! |= flag),
  })),
  ...[9, 11].map((words) => ({
    what: `a header of ${words} words`,
    edit: (bytes: Uint8Array, tcpAt: number) => void (bytes[tcpAt + 12] = words << 4),
  })),
  ...[20, 21, 24, 25, 26, 27, 36, 37, 38].map((at) => ({
    what: `another option at ${at}`,
    edit: (bytes: Uint8Array, tcpAt: number) => void (bytes[tcpAt + at]! ^= 8),
  })),
  { what: 'a window shift of 15', edit: (bytes, tcpAt) => void (bytes[tcpAt + 39] = 15) },
  { what: 'a wrong checksum', edit: (bytes, tcpAt) => void (bytes[tcpAt + 17]! ^= 1), unfinished: true },
  { what: 'IPv4 options', edit: (bytes) => void (bytes[0] = 0x46), family: 4 },
  { what: 'more fragments', edit: (bytes) => void (bytes[6]! |= 0x20), family: 4 },
  { what: 'a fragment behind another', edit: (bytes) => void (bytes[7] = 1), family: 4 },
  { what: 'UDP', edit: (bytes) => void (bytes[9] = 17), family: 4 },
  { what: 'IPv4 says longer', edit: (bytes) => void bytes[3]!++, unfinished: true, family: 4 },
  { what: 'IPv4 says shorter', edit: (bytes) => void bytes[3]!--, unfinished: true, family: 4 },
  { what: 'an extension header', edit: (bytes) => void (bytes[6] = 0), family: 6 },
  { what: 'IPv6 says longer', edit: (bytes) => void bytes[5]!++, unfinished: true, family: 6 },
  { what: 'IPv6 says shorter', edit: (bytes) => void bytes[5]!--, unfinished: true, family: 6 },
];

function changed(one: BarePasses, good: Uint8Array, { edit, unfinished }: Change): Uint8Array {
  const bytes = good.slice();
  edit(bytes, one.tcpAt);
  return unfinished === true ? bytes : one.finish(bytes);
}

function of(six: boolean): readonly Change[] {
  return CHANGES.filter(({ family }) => family === undefined || family === (six ? 6 : 4));
}

for (const [family, six] of FAMILIES) {
  t.test(`nfqueue passes attack: over ${family} a SYN that is unusual in any way goes by no pass`, (t) => {
    const one = bare(t, six);
    one.passInbound();
    const good = one.syn(false, one.hello());
    const rows: readonly (readonly [string, Uint8Array])[] = [
      ...of(six).map((change) => [change.what, changed(one, good, change)] as const),
      [
        'an acknowledgement number',
        changed(one, good, { what: '', edit: (bytes, at) => void (bytes[at + 11] = 1) }),
      ],
      [
        'no room for the Reply',
        changed(one, good, { what: '', edit: (bytes, at) => bytes.set([0, 97], at + MSS_AT) }),
      ],
      ['to another port', changed(one, good, { what: '', edit: (bytes, at) => void bytes[at + 3]!++ })],
      ['to another address', changed(one, good, { what: '', edit: (bytes, at) => void bytes[at - 1]!++ })],
      [
        'from another address',
        changed(one, good, { what: '', edit: (bytes, at) => void bytes[at - (six ? 17 : 5)]!++ }),
      ],
      ['a byte more', one.finish(new Uint8Array([...good, 0]))],
      ['a byte less', one.finish(good.slice(0, -1))],
    ];
    for (const [what, bytes] of rows) t.notOk(one.decide(bytes, false), what);
    t.notOk(one.decide(good, true), 'it leaves the pod');
    t.notOk(one.decide(good, false, { truncated: true }), 'not copied whole');
    t.notOk(one.decide(good, false, { mark: MARKS.withStream(0) }), 'it goes to the listener');
    t.strictSame(one.take(), [], 'nothing has begun');
    const { bytes } = one.decide(good, false)!;
    t.strictSame(
      Buffer.from(bytes),
      Buffer.from(one.finish(good.slice(0, one.tcpAt + 40))),
      'the kernel hears no Hello',
    );
    t.end();
  });

  t.test(
    `nfqueue passes attack: over ${family} an answer that is unusual in any way goes by no pass`,
    (t) => {
      for (const outgoing of [true, false]) {
        for (const change of of(six)) {
          // The SYN-ACK of the own kernel is believed: its checksum may be the network card's.
          if (change.what === 'a wrong checksum' && !outgoing) continue;
          const one = new BarePasses(six);
          const syn = begun(one, outgoing);
          const answer = one.synAck(
            syn,
            outgoing ? one.reply(packetOf(syn).bytes.subarray(one.tcpAt + 40)) : NOTHING,
          );
          t.notOk(one.decide(changed(one, answer, change), !outgoing), `${change.what}, ${outgoing}`);
          void one.end();
        }
      }
      t.end();
    },
  );
}

t.test('nfqueue passes attack: an address that could be read as another one goes by no pass', (t) => {
  const one = bare(t, true);
  one.passInbound({ peer: '::ffff:10.0.0.1' });
  const mapped = one.syn(false, one.hello());
  mapped.set(Buffer.from('00000000000000000000ffff0a000001', 'hex'), 8);
  t.notOk(one.decide(one.finish(mapped), false));
  t.end();
});

t.test(
  'nfqueue passes attack: an answer to another SYN, from the wrong side or with bytes opens nothing',
  (t) => {
    for (const outgoing of [true, false]) {
      const rows: Record<string, (one: BarePasses, syn: Uint8Array, answer: Uint8Array) => boolean> = {
        'to the byte before': (one, syn, answer) =>
          one.decide(one.synAck(syn, answer, 0), !outgoing) !== undefined,
        'to a Hello that is in the stream': (one, syn, answer) =>
          one.decide(one.synAck(syn, answer, 1 + helloIn(one, syn).length), !outgoing) !== undefined,
        'from the side that called': (one, syn, answer) =>
          one.decide(one.turnedToAnswer(syn, answer), outgoing) !== undefined,
        'to other ports': (one, syn, answer) => {
          const other = one.synAck(syn, answer);
          other[one.tcpAt + (outgoing ? 3 : 1)]! ^= 1;
          return one.decide(one.finish(other), !outgoing) !== undefined;
        },
        'with bytes that nobody asked for': (one, syn, answer) =>
          one.decide(one.synAck(syn, new Uint8Array([...answer, 1])), !outgoing) !== undefined,
        'after passes were taken back': (one, syn, answer) => {
          one.dataPath.resumption.revoke();
          return one.decide(one.synAck(syn, answer), !outgoing) !== undefined;
        },
      };
      for (const [what, tried] of Object.entries(rows)) {
        const one = bare(t);
        const syn = begun(one, outgoing);
        const answer = outgoing ? one.reply(helloIn(one, syn)) : NOTHING;
        t.notOk(tried(one, syn, answer), `${outgoing ? 'to this pod' : 'of this pod'}: ${what}`);
      }
      const one = bare(t);
      const syn = begun(one, outgoing);
      const answer = one.synAck(syn, outgoing ? one.reply(helloIn(one, syn)) : NOTHING);
      t.ok(one.decide(answer, !outgoing)?.marked, 'the right one, from the right side');
      t.notOk(one.decide(answer, !outgoing), "said again it is TypeScript's");
      t.match(one.take(), [{ outgoing, established: true }], 'and told once');
    }
    t.end();
  },
);

t.test(
  'nfqueue passes attack: who waits gets nothing by a pass that is over, or by an old call',
  async (t) => {
    const [over, late] = [bare(t), [bare(t), bare(t)]];
    const syns = late.map((one, index) => begun(one, index === 0));
    const from = performance.now();
    over.passInbound({ lifetimeMs: 1 });
    over.passOutbound({ lifetimeMs: 1 });
    // As long as a pass ends before its session does, and no longer.
    while (performance.now() < from + 1_950) await new Promise((resolve) => setTimeout(resolve, 50));
    t.notOk(over.decide(over.syn(false, over.hello()), false), 'a call to this pod');
    t.notOk(over.decide(over.syn(true, NOTHING), true), 'a call of this pod');
    for (const [index, one] of late.entries()) {
      const syn = syns[index]!;
      const answer = one.synAck(syn, index === 0 ? one.reply(helloIn(one, syn)) : NOTHING);
      t.notOk(one.decide(answer, index !== 0), 'an answer that is late');
      t.match(one.take(), [{ established: false }]);
    }
  },
);

t.test(
  'nfqueue passes: an application gets a Hello only on a SYN that has room for it and brings nothing',
  (t) => {
    const one = bare(t);
    one.passOutbound();
    const { length } = one.hello({ destination: one.peer });
    const plain = one.syn(true, NOTHING);
    const acknowledging = plain.slice();
    acknowledging[31] = 1;
    const elsewhere = plain.slice();
    elsewhere[23]!++;
    t.notOk(one.decide(one.syn(true, Buffer.from('early')), true), 'data');
    t.notOk(one.decide(one.finish(acknowledging), true), 'an acknowledgement number');
    t.notOk(one.decide(one.finish(elsewhere), true), 'to another port');
    t.notOk(one.decide(plain, false), 'it comes from outside');
    t.notOk(one.decide(plain, true, { mark: MARKS.withStream(0) }), 'it goes to the listener');
    t.notOk(
      one.decide(one.syn(true, NOTHING, { maximumSegment: length + 19 }), true),
      'a byte too little room',
    );
    t.ok(one.decide(one.syn(true, NOTHING, { maximumSegment: length + 20 }), true), 'just enough');
    const foreign = 0xf000_000f;
    const { bytes } = one.decide(plain, true, { mark: (foreign | MARKS.verified(2)) >>> 0 })!;
    t.equal(bytes.length, plain.length + length, "and others' bits of a mark stay as they are (readOrders)");
    t.end();
  },
);

t.test(
  "nfqueue passes: ports on which TypeScript has a handshake are its own, and a SYN that it knows is not another one's",
  (t) => {
    const one = bare(t);
    one.passInbound();
    const syn = one.syn(false, one.hello(), { port: 7_000, initial: 100 });
    const key = flowKey(packetOf(syn), false);
    const tried = (): boolean => one.decide(syn, false) !== undefined;
    const claim = (initial: number, outgoing: boolean, waiting: boolean): void =>
      one.addon.queueClaim(one.handle, key, initial, outgoing, waiting);
    claim(99, false, true);
    t.notOk(tried(), 'a handshake is under way');
    claim(99, true, false);
    t.notOk(tried(), 'a call of this pod has these ports');
    claim(100, false, false);
    t.notOk(tried(), 'it is said again');
    one.addon.queueRelease(one.handle, key, 99);
    t.notOk(tried(), 'another connection was over');
    claim(99, false, false);
    t.ok(tried(), 'an older connection on the same ports has nothing to say');
    claim(98, false, false);
    one.addon.queueRelease(one.handle, key, 100);
    t.match(one.take(), [{ initial: 100 }], 'what a pass has begun is not given up by that');
    t.end();
  },
);

t.test('nfqueue passes: of calls that nobody answers so many wait and no more', (t) => {
  const one = bare(t);
  one.passOutbound();
  let decided = 0;
  for (let call = 0; call < 4_200; call++)
    if (one.decide(one.syn(true, NOTHING), true) !== undefined) decided++;
  t.ok(decided <= 4_096, `${decided} wait`);
  t.ok(decided > 4_000);
  t.equal(one.take().length, decided, 'and TypeScript gets every one');
  t.ok(one.decide(one.syn(true, NOTHING), true), 'then there is room again');
  t.end();
});

t.test('nfqueue passes attack: a wrong answer takes its own pass away and no newer one', (t) => {
  const one = bare(t);
  const syn = begun(one, true);
  one.passOutbound();
  t.notOk(one.decide(one.synAck(syn, NOTHING), false));
  t.ok(one.decide(one.syn(true, NOTHING), true), 'the pass that came since');
  t.end();
});

t.test('nfqueue passes: there are so many passes and no more, whoever is behind them', (t) => {
  const one = bare(t);
  let given = 0;
  for (let host = 0; host < 17_000; host++)
    if (one.passInbound({ peer: `10.1.${host >> 8}.${host & 255}` })) given++;
  t.equal(given, 16_384);
  t.notOk(one.passInbound());
  one.dataPath.resumption.revoke();
  t.ok(one.passInbound(), 'then there is room again');
  t.end();
});

t.test('nfqueue passes: an order for a mark whose places lie outside of it is refused', (t) => {
  const one = bare(t);
  const settings = passSettings(MARKS, 3);
  const [four, six] = settings.orders;
  const open = (...orders: [MarkOrder, MarkOrder]): unknown =>
    one.dataPath.resumption.openQueues!({ ...settings, orders });
  for (const field of ['source', 'destination', 'sourcePort', 'destinationPort'] as const) {
    for (const place of [four.bytes.length - 1, 300, 2 ** 53]) {
      t.throws(() => open({ ...four, [field]: place }, six), RangeError, `IPv4, ${field} at ${place}`);
      t.throws(() => open(four, { ...six, [field]: place + 40 }), RangeError, `IPv6, ${field} at ${place}`);
    }
  }
  const none = { source: 0, destination: 0, sourcePort: 0, destinationPort: 0 };
  for (const length of [0, 1, 3, 257])
    t.throws(
      () => open({ ...none, bytes: new Uint8Array(length), source: 250 }, six),
      RangeError,
      `${length} bytes`,
    );
  t.throws(() => open(four, { ...none, bytes: new Uint8Array(15), source: 250 }), RangeError, '15 bytes');
  t.end();
});

t.test('nfqueue passes: a call by a pass that nobody knows any more is cut, and its ports are free', (t) => {
  const one = passingPods();
  t.teardown(() => one.end());
  const { passes } = one.client.pod.proxy!.surroundings;
  const find = passes.find.bind(passes);
  Object.assign(passes, { find: () => undefined });
  one.network.fates = [0];
  one.connect({ sourcePort: 50_000 });
  one.client.passUser.takeBack();
  t.equal(one.client.proxy.flows.size, 2);
  t.equal(one.client.path.destroyed.length, 1);
  Object.assign(passes, { find });
  one.client.path.passed = 0;
  one.connect({ sourcePort: 50_000, initial: 2_000_000 });
  t.equal(one.client.path.passed, 2, 'the next one there goes by a pass');
  t.end();
});
