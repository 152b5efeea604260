import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import type { NativeAddon, NativeNetlink, NativeRaw } from '../../src/native.ts';
import { decodeMessages } from '../../src/netlink/message.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';
import { KernelPacketPath } from '../../src/nfqueue/kernel-packet-path.ts';
import { Marks } from '../../src/nfqueue/marks.ts';
import type { QueuedPacket } from '../../src/nfqueue/packet-path.ts';
import { queueStatistics } from '../../src/nfqueue/queue-statistics.ts';

const ERROR = 2;

/** A kernel that answers every request with an errno, and says what a test wants it to. */
function kernel(errnoOf: (request: number) => number = () => 0) {
  const open = new Set<object>();
  const sent: Uint8Array[] = [];
  const devices: string[] = [];
  let failing: string | undefined;
  let answers: Uint8Array[] = [];
  let hear: (bytes: Uint8Array, lost: number, error: string | undefined) => void = () => {};
  const addon: Partial<NativeAddon> = {
    netlinkOpen: () => added() as NativeNetlink,
    netlinkClose: (handle) => void open.delete(handle),
    rawOpen: () => added() as NativeRaw,
    rawClose: (handle) => void open.delete(handle),
    rawSend: (_, destination, device) => {
      devices.push(`${Buffer.from(destination).toString('hex')} ${device}`);
      throw new Error('ENETUNREACH');
    },
    netlinkSend: (_, bytes) => {
      if (failing !== undefined) throw new Error(failing);
      sent.push(bytes.slice());
      answers = decodeMessages(bytes).received.map((one, index) => answer(one.sequence, errnoOf(index)));
    },
    netlinkReceive: () => answers.shift(),
    netlinkReceiveAll: () => (answers.length === 0 ? undefined : Buffer.concat(answers.splice(0))),
    netlinkListen: (_, onReceived) => (hear = onReceived),
  };
  const added = (): object => {
    const handle = {};
    open.add(handle);
    return handle;
  };
  return {
    addon: addon as NativeAddon,
    open,
    sent,
    devices,
    hear: (pieces: readonly Uint8Array[], lost: number, error: string | undefined) =>
      hear(Buffer.concat(pieces), lost, error),
    fail: (how: string) => (failing = how),
  };
}

function answer(sequence: number, errno: number): Uint8Array {
  const value = new Uint8Array(new Int32Array([-errno]).buffer);
  return new MessageWriter().begin(ERROR, 0, sequence).raw(value).end().take().slice();
}

function started(errnoOf?: (request: number) => number) {
  const seen: string[] = [];
  const under = kernel(errnoOf);
  const packets: QueuedPacket[] = [];
  const path = new KernelPacketPath(under.addon, new Marks(), {
    packets: (batch) => packets.push(...batch),
    lost: (count) => seen.push(`lost ${count}`),
    uncut: (error) => seen.push(error.message),
    failed: (error) => seen.push(error.message),
  });
  return { ...under, path, seen, packets };
}

const OPTIONS = { firstQueue: 5, queues: 2, maxWaiting: 10, bufferBytes: 1_048_576, copyBytes: 65_535 };

/** A packet of a queue, as the kernel numbers it. */
function queued(queue: number, id: number): Uint8Array {
  const header = Uint8Array.of(...Buffer.from(new Uint32Array([id]).buffer).reverse(), 8, 0, 0);
  return new MessageWriter().begin(0x300, 0, 0).netfilter(2, queue).bytes(1, header).end().take().slice();
}

t.test(
  'kernel packet path: what is missing in the count of a queue, and the end of the socket, are told',
  async (t) => {
    const under = started();
    under.path.open(OPTIONS);
    under.hear([queued(5, 1), queued(5, 2), queued(6, 1)], 0, undefined);
    t.strictSame(under.seen, []);
    // The kernel says that it dropped something; how much, the next number says.
    under.hear([], 1, undefined);
    under.hear([queued(5, 6), queued(6, 2)], 0, undefined);
    under.hear([Uint8Array.of(255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)], 0, undefined);
    under.hear([new MessageWriter().begin(0x300, 0, 0).netfilter(2, 5).end().take().slice()], 0, undefined);
    under.hear([queued(6, 4)], 0, undefined);
    under.hear([queued(5, 0xffff_ffff), queued(5, 0), queued(5, 3)], 0, undefined);
    under.hear([], 0, 'ENOTCONN');
    t.strictSame(under.seen, ['lost 3', 'lost 1', 'the netlink socket of the queues failed: ENOTCONN']);
    t.equal(under.packets.length, 9);
    await under.path.close();
    under.hear([], 1, undefined);
    t.equal(under.seen.length, 3, 'nothing after close');
    t.equal(under.open.size, 0, 'and nothing is left open');
  },
);

t.test('kernel packet path: a verdict that the kernel does not take is told, not thrown', async (t) => {
  const under = started();
  under.path.open(OPTIONS);
  under.fail('ENOBUFS');
  under.path.verdict({ queue: 5, id: 1, mark: 0 } as QueuedPacket, 'accept');
  await nextTurn();
  await nextTurn();
  t.strictSame(under.seen, ['verdicts could not be handed to the kernel: ENOBUFS']);
  await under.path.close();
});

t.test('kernel packet path: a queue that is refused leaves nothing open, and the error has a remedy', (t) => {
  for (const [errno, expected] of [
    [1, /queue 5 is bound by another process, or the capability NET_ADMIN is missing/],
    [16, /queue 5 cannot be bound: EBUSY/],
    [99, /errno 99/],
  ] as const) {
    const under = started(() => errno);
    t.throws(() => under.path.open(OPTIONS), { name: 'UserError', message: expected });
    t.equal(under.open.size, 0);
  }
  for (const [code, expected] of [
    ['EPROTONOSUPPORT', /modules nfnetlink_queue, nf_conntrack_netlink and tcp_diag/],
    ['EPERM', /capabilities NET_ADMIN and NET_RAW/],
  ] as const) {
    const under = started();
    under.addon.rawOpen = () => {
      throw Object.assign(new Error('no'), { code });
    };
    t.throws(() => under.path.open(OPTIONS), { message: expected });
    t.equal(under.open.size, 0);
  }
  t.end();
});

t.test(
  'kernel packet path: orders of one turn are one call, in their order, also before a packet of its own',
  async (t) => {
    const under = started();
    under.path.open(OPTIONS);
    const before = under.sent.length;
    const packet = { queue: 5, id: 1, mark: 0x8000_0000 } as QueuedPacket;
    const address = Uint8Array.of(1, 2, 3, 4);
    const tuple = {
      family: 4,
      sourceAddress: address,
      sourcePort: 1,
      destinationAddress: address,
      destinationPort: 2,
    } as const;
    under.path.verdict(packet, 'accept');
    under.path.setConnectionMark(tuple, 0x0d10_0000, 0x0ff0_0000);
    under.path.sendPacket(Uint8Array.from({ length: 40 }, (_, at) => (at === 0 ? 0x45 : 0)));
    under.path.verdict(packet, 'drop');
    await nextTurn();
    const calls = under.sent.slice(before).map((bytes) => decodeMessages(bytes).received);
    t.strictSame(
      calls.map((call) => call.map((one) => one.kind === 'message' && one.type)),
      [[0x301, 0x100], [0x301]],
    );
    t.equal(
      Buffer.from(under.sent[before]!).readUInt32BE(36),
      0x8f00_0000,
      'foreign bits of the mark are kept',
    );
    t.strictSame(under.seen, [], 'a packet that cannot be sent is lost like any other');
    await under.path.close();
  },
);

const CUT = {
  family: 4,
  sourceAddress: Uint8Array.of(1, 2, 3, 4),
  sourcePort: 1,
  destinationAddress: Uint8Array.of(1, 2, 3, 5),
  destinationPort: 2,
} as const;

t.test(
  'kernel packet path: cuts of one turn go together, behind the orders before them and before those behind them',
  async (t) => {
    const [verdict, mark, socket, entry] = [0x301, 0x100, 20, 0x101];
    const packet = { queue: 5, id: 1, mark: 0 } as QueuedPacket;
    const orders: Record<string, (path: KernelPacketPath) => unknown> = {
      'a mark': (path) => path.setConnectionMark(CUT, 0x0d10_0000, 0x0ff0_0000),
      'a verdict': (path) => path.verdict(packet, 'accept'),
    };
    for (const [what, order] of Object.entries(orders)) {
      const under = started();
      under.path.open(OPTIONS);
      const before = under.sent.length;
      order(under.path);
      for (const sourcePort of [1, 2, 3]) under.path.cutConnection({ ...CUT, sourcePort }, true);
      order(under.path);
      await nextTurn();
      const type = what === 'a mark' ? mark : verdict;
      const calls = under.sent.slice(before).map((bytes) => decodeMessages(bytes).received);
      t.strictSame(
        calls.map((call) => call.map((one) => one.kind === 'message' && one.type)),
        [[type], [socket, socket, socket], [entry, entry, entry], [type]],
        what,
      );
      // And without anything behind them, with the end of the turn.
      under.path.cutConnection(CUT, false);
      await nextTurn();
      t.equal(under.sent.length - before, 6);
      await under.path.close();
    }
  },
);

t.test(
  'kernel packet path: a kernel that refuses to end connections is told of, and one that has none is not',
  async (t) => {
    for (const [errno, told] of [
      [1, /EPERM/],
      [95, /EOPNOTSUPP/],
    ] as const) {
      let refusing = false;
      const under = started(() => (refusing ? errno : 0));
      under.path.open(OPTIONS);
      refusing = true;
      under.path.cutConnection(CUT, true);
      await nextTurn();
      t.equal(under.seen.length, 2, 'of sockets, and of entries');
      for (const line of under.seen) t.match(line, told);
      await under.path.close();
    }
    let gone = false;
    const under = started(() => (gone ? 2 : 0));
    under.path.open(OPTIONS);
    gone = true;
    under.path.cutConnection(CUT, true);
    await nextTurn();
    t.strictSame(under.seen, []);
    await under.path.close();
  },
);

t.test(
  'kernel packet path: orders for the two sockets stay in the order in which they were given',
  async (t) => {
    const under = started();
    under.path.open(OPTIONS);
    const before = under.sent.length;
    for (const queue of [5, 6, 6, 5]) under.path.verdict({ queue, id: 1, mark: 0 } as QueuedPacket, 'drop');
    await nextTurn();
    t.strictSame(
      under.sent.slice(before).map((bytes) => decodeMessages(bytes).received.length),
      [1, 2, 1],
    );
    under.path.verdict({ queue: 7, id: 1, mark: 0 } as QueuedPacket, 'accept');
    await nextTurn();
    t.equal(under.sent.length - before, 3, 'and none goes out for a queue that is not ours');
    await under.path.close();
  },
);

t.test(
  'kernel packet path: a packet for a link-local address goes by the interface that is named, others by the routes',
  async (t) => {
    const under = started();
    under.path.open(OPTIONS);
    const six = (first: number, second: number): Uint8Array =>
      Uint8Array.from({ length: 60 }, (_, at) =>
        at === 0 ? 0x60 : at === 24 ? first : at === 25 ? second : 0,
      );
    under.path.sendPacket(six(0xfe, 0xbf), 7);
    under.path.sendPacket(six(0xfe, 0xc0), 7);
    under.path.sendPacket(
      Uint8Array.from({ length: 40 }, (_, at) => (at === 0 ? 0x45 : 0)),
      7,
    );
    t.strictSame(
      under.devices.map((one) => one.split(' ')[1]),
      ['7', '0', '0'],
    );
    await under.path.close();
  },
);

t.test('queue statistics: the table of the kernel is read, and nonsense is not', (t) => {
  const text = `14100  30507     2 2 65531    12     3       44  1\nnonsense\n 1 2\n\n`;
  t.strictSame(queueStatistics(text), [
    { queue: 14_100, port: 30_507, waiting: 2, queueDropped: 12, userDropped: 3 },
  ]);
  t.end();
});
