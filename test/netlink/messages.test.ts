import fc from 'fast-check';
import t from 'tap';
import { AttributeReader } from '../../src/netlink/attributes.ts';
import {
  type Connection,
  decodeConnection,
  decodeEntry,
  encodeDelete,
  encodeDump,
  encodeMark,
  isConntrack,
} from '../../src/netlink/conntrack.ts';
import { decodeMessages, FLAG, type Message } from '../../src/netlink/message.ts';
import { MessageWriter } from '../../src/netlink/message-writer.ts';
import { decodePacket, encodeBind, encodeVerdict, isPacket, VERDICT } from '../../src/netlink/queue.ts';
import {
  decodeConnectedSocket,
  encodeSocketDestroy,
  encodeSocketFind,
} from '../../src/netlink/socket-destroy.ts';
import type { Tuple } from '../../src/netlink/tuple.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const FOUR: Tuple = {
  family: 4,
  sourceAddress: bytes(10, 0, 0, 1),
  sourcePort: 40_000,
  destinationAddress: bytes(10, 0, 0, 2),
  destinationPort: 80,
};
const COOKIE = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const SIX: Tuple = {
  family: 6,
  sourceAddress: bytes(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
  sourcePort: 40_000,
  destinationAddress: bytes(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
  destinationPort: 443,
};
const hex = (of: Uint8Array): string => Buffer.from(of).toString('hex');
/** Hexadecimal digits in groups. */
const fields = (text: string): string => text.replaceAll(/\s/g, '');
const written = (write: (writer: MessageWriter) => void): Uint8Array => {
  const writer = new MessageWriter();
  write(writer);
  return writer.take().slice();
};
const only = (bytes: Uint8Array): Message => {
  const { received } = decodeMessages(bytes);
  const [first] = received;
  if (received.length !== 1 || first?.kind !== 'message') throw new Error('not one message');
  return first;
};

// Of a little-endian machine, put together by hand from the kernel's headers.
t.test('netlink: requests have the bytes that the kernel headers demand', (t) => {
  t.equal(
    hex(written((w) => encodeVerdict(w, { queue: 0x3714, id: 7 }, VERDICT.accept, { mark: 0xc500000 }, 9))),
    fields('28000000 0103 0100 09000000 00000000 00003714 0c000200 00000001 00000007 08000300 0c500000'),
  );
  t.equal(
    hex(
      written((w) =>
        encodeVerdict(w, { queue: 1, id: 2 }, VERDICT.drop, { bytes: Uint8Array.of(1, 2, 3) }, 0),
      ),
    ),
    fields('28000000 0103 0100 00000000 00000000 00000001 0c000200 00000000 00000002 07000a00 01020300'),
    'an attribute is filled up to four bytes, and its length says three',
  );
  t.equal(
    hex(written((w) => encodeBind(w, { queue: 5, maxLength: 4096, copyBytes: 0xffff, gso: true }, 3))),
    fields(
      '1c000000 0203 0500 03000000 00000000 00000005 08000100 01000000 38000000 0203 0500 03000000 00000000 00000005 09000200 0000ffff 02000000 08000300 00001000 08000500 00000004 08000400 00000005',
    ),
    'fail-open is in the mask and not among the flags: it is switched off',
  );
  t.equal(
    hex(written((w) => encodeDelete(w, FOUR, 4))),
    fields(
      '48000000 0201 0500 04000000 00000000 02000000 34000180 14000180 08000100 0a000001 08000200 0a000002 1c000280 05000100 06000000 06000200 9c400000 06000300 00500000',
    ),
  );
  t.equal(
    hex(written((w) => encodeDelete(w, FOUR, 4, 0x01020304))).slice(-16),
    '08000c0001020304',
    'this connection, and no later one with its ports',
  );
  const destroy = written((w) => encodeSocketDestroy(w, SIX, 0, COOKIE, 1));
  t.equal(destroy.length, 16 + 56);
  t.equal(hex(destroy.subarray(16, 24)), '0a060000ffffffff');
  t.equal(hex(destroy.subarray(24, 28)), '9c4001bb');
  t.equal(hex(destroy.subarray(28, 60)), hex(SIX.sourceAddress) + hex(SIX.destinationAddress));
  t.equal(hex(destroy.subarray(60)), '000000000102030405060708');
  const find = written((w) => encodeSocketFind(w, SIX, 0, 1));
  t.equal(hex(find.subarray(60)), '00000000ffffffffffffffff', 'whatever cookie');
  t.equal(hex(written((w) => encodeSocketFind(w, SIX, 7, 1)).subarray(60, 64)), '07000000', 'by a device');
  t.equal(hex(find.subarray(4, 6)), '1400');
  t.end();
});

t.test("netlink: only a connection's own socket is ended, never the listener behind it", (t) => {
  const answer = (state: number, addresses: Uint8Array[], ports: readonly [number, number]): Message => {
    const bytes = new Uint8Array(72);
    bytes[1] = state;
    new DataView(bytes.buffer).setUint16(4, ports[0]);
    new DataView(bytes.buffer).setUint16(6, ports[1]);
    bytes.set(addresses[0]!, 8);
    bytes.set(addresses[1]!, 24);
    bytes.set(COOKIE, 44);
    return { kind: 'message', type: 20, sequence: 1, bytes, start: 0, end: 72, interrupted: false };
  };
  const own = [FOUR.sourceAddress, FOUR.destinationAddress];
  const ports = [FOUR.sourcePort, FOUR.destinationPort] as const;
  const map = (address: Uint8Array) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...address);
  t.strictSame(decodeConnectedSocket(answer(1, own, ports), FOUR), COOKIE);
  t.strictSame(decodeConnectedSocket(answer(1, own.map(map), ports), FOUR), COOKIE, 'listened on IPv6');
  t.equal(decodeConnectedSocket(answer(10, own, ports), FOUR), undefined, 'it listens');
  t.equal(decodeConnectedSocket(answer(1, own, [ports[0], 0]), FOUR), undefined, 'another port');
  t.equal(decodeConnectedSocket(answer(1, own.toReversed(), ports), FOUR), undefined, 'another address');
  t.equal(
    decodeConnectedSocket(answer(1, [own[0]!, map(own[1]!)], ports), FOUR),
    undefined,
    'one of them mapped',
  );
  const six = [SIX.sourceAddress, SIX.destinationAddress];
  const sixPorts = [SIX.sourcePort, SIX.destinationPort] as const;
  t.strictSame(decodeConnectedSocket(answer(1, six, sixPorts), SIX), COOKIE);
  for (const [which, address] of six.entries()) {
    for (let at = 0; at < 16; at++) {
      const other = six.with(which, address.with(at, address[at]! ^ 1));
      t.equal(decodeConnectedSocket(answer(1, other, sixPorts), SIX), undefined, `byte ${at} of another`);
    }
    for (let at = 0; at < 16; at++) {
      const long = Uint8Array.of(...map(own[which]!));
      const other = own.map(map).with(which, long.with(at, long[at]! ^ 1));
      t.equal(
        decodeConnectedSocket(answer(1, other, ports), FOUR),
        undefined,
        `byte ${at} of another, mapped`,
      );
      const short = new Uint8Array(16);
      short.set(own[which]!);
      const plain = own.with(which, short.with(at, short[at]! ^ 1));
      t.equal(
        decodeConnectedSocket(answer(1, plain, ports), FOUR),
        undefined,
        `byte ${at} of another, plain`,
      );
    }
  }
  t.end();
});

t.test('netlink: a mark is set under a mask, and on request the connection is made liberal', (t) => {
  const message = only(
    written((w) => encodeMark(w, SIX, { value: 5, mask: 15 }, { liberal: true, acknowledge: true }, 1)),
  );
  const at = new AttributeReader(message.bytes, message.start + 4, message.end);
  const seen = new Map<number, string>();
  while (at.next()) seen.set(at.type, hex(at.bytes()));
  t.equal(seen.get(8), '00000005');
  t.equal(seen.get(21), '0000000f');
  t.equal(seen.get(4), fields('14000180 06000400 08080000 06000500 08080000'));
  const dump = only(written((w) => encodeDump(w, { value: 1, mask: 3 }, 1)));
  t.equal(dump.type, 0x101);
  t.throws(
    () => written((w) => encodeDelete(w, { ...FOUR, destinationAddress: SIX.sourceAddress }, 1)),
    /an address of IPv4 has 4 bytes/,
  );
  t.throws(
    () => written((w) => encodeSocketDestroy(w, { ...SIX, sourcePort: 65_536 }, 0, COOKIE, 1)),
    /65536 is no port/,
  );
  t.end();
});

/** What the kernel sends for a connection; made from its parts, as no encoder of ours writes that. */
function connectionMessage(one: Connection, type: number): Uint8Array {
  const writer = new MessageWriter();
  const tuple = (which: number, one: Tuple): void => {
    const four = one.family === 4;
    writer.nested(which, (outer) => {
      outer.nested(1, (ip) =>
        ip.bytes(four ? 1 : 3, one.sourceAddress).bytes(four ? 2 : 4, one.destinationAddress),
      );
      outer.nested(2, (protocol) => protocol.u8(1, 6).u16(2, one.sourcePort).u16(3, one.destinationPort));
    });
  };
  writer.begin(type, 0, 3).netfilter(2);
  tuple(1, one.original);
  tuple(2, one.reply);
  writer.u32(3, one.status).u32(8, one.mark).u32(12, one.id);
  writer.nested(4, (info) => info.nested(1, (tcp) => tcp.u8(1, one.state)));
  if (one.bytes !== undefined) {
    const count = (value: number): Uint8Array =>
      new Uint8Array(new BigUint64Array([BigInt(value)]).buffer).reverse();
    writer.nested(9, (counters) => counters.bytes(1, count(1)).bytes(2, count(one.bytes!.original)));
    writer.nested(10, (counters) => counters.bytes(2, count(one.bytes!.reply)));
  }
  return writer.end().take().slice();
}

const port = fc.integer({ min: 0, max: 65_535 });
const tuples: fc.Arbitrary<Tuple> = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const length = family === 4 ? 4 : 16;
  const address = fc.uint8Array({ minLength: length, maxLength: length });
  return fc.record(
    {
      family: fc.constant(family),
      sourceAddress: address,
      sourcePort: port,
      destinationAddress: address,
      destinationPort: port,
    },
    { noNullPrototype: true },
  );
});
const word = fc.integer({ min: 0, max: 0xffff_ffff });
const connections: fc.Arbitrary<Connection> = fc.record(
  {
    original: tuples,
    reply: tuples,
    mark: word,
    status: word,
    state: fc.integer({ min: 0, max: 13 }),
    id: word,
    bytes: fc.option(
      fc.record({ original: fc.maxSafeNat(), reply: fc.maxSafeNat() }, { noNullPrototype: true }),
      { nil: undefined },
    ),
  },
  { noNullPrototype: true },
);

t.test('netlink: a connection of either family is read as it was written', (t) => {
  fc.assert(
    fc.property(connections, (one) => {
      const message = only(connectionMessage(one, 0x102));
      t.equal(isConntrack(message), 'destroyed');
      t.strictSame(decodeConnection(message), one);
      t.strictSame(decodeEntry(message), { id: one.id, mark: one.mark });
    }),
  );
  t.end();
});

/** What the kernel sends for a packet. */
function packetMessage(
  queue: number,
  id: number,
  mark: number,
  payload: Uint8Array,
  info: number,
): Uint8Array {
  const writer = new MessageWriter();
  writer.begin(0x300, 0, 0).netfilter(2, queue);
  writer.bytes(1, Uint8Array.of(id >>> 24, id >>> 16, id >>> 8, id, 8, 0, 3));
  if (mark !== 0) writer.u32(3, mark);
  writer.u32(6, 2).u32(14, info).bytes(10, payload);
  return writer.end().take().slice();
}

t.test('netlink: a queued packet is read as it was written, in place', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 65_535 }),
      word,
      word,
      fc.uint8Array({ maxLength: 2000 }),
      fc.integer({ min: 0, max: 7 }),
      (queue, id, mark, payload, info) => {
        const message = only(packetMessage(queue, id, mark, payload, info));
        t.ok(isPacket(message));
        const packet = decodePacket(message)!;
        t.match(packet, { queue, id, mark, hook: 3, inDevice: 0, outDevice: 2 });
        t.equal(hex(packet.bytes), hex(payload));
        t.equal(packet.bytes.buffer, message.bytes.buffer, 'no copy');
        t.equal(packet.checksumNotReady, (info & 1) !== 0);
        t.equal(packet.joined, (info & 2) !== 0);
      },
    ),
  );
  t.end();
});

t.test('netlink: several datagrams behind each other are several messages, answers among them', (t) => {
  const datagram = (text: string): Buffer => Buffer.from(fields(text), 'hex');
  const error = datagram('24000000 0200 0000 07000000 00000000 feffffff 00000000 00000000 00000000 00000000');
  const done = datagram('14000000 0300 0200 08000000 00000000 00000000');
  const bare = datagram('10000000 0300 0200 09000000 00000000');
  const bytes = Buffer.concat([packetMessage(1, 2, 0, Uint8Array.of(1), 0), error, done, bare]);
  const { received, whole } = decodeMessages(bytes);
  t.ok(whole);
  t.strictSame(
    received.map((one) => one.kind),
    ['message', 'answer', 'done', 'done'],
  );
  t.match(received[1], { sequence: 7, errno: 2 });
  t.match(received[2], { sequence: 8, errno: 0 });
  t.match(received[3], { sequence: 9, errno: 0 });
  t.end();
});

t.test('netlink: lengths that lie end the reading, and nothing is read past the end', (t) => {
  const good = packetMessage(1, 2, 3, new Uint8Array(64), 0);
  for (const [at, value] of [
    [0, 8],
    [0, 255],
    [20, 2],
    [20, 255],
  ] as const) {
    const bytes = good.slice();
    bytes[at] = value;
    const { received, whole } = decodeMessages(bytes);
    if (at === 0) t.strictSame([received.length, whole], [0, false]);
    else t.equal(decodePacket(only(bytes)), undefined, 'a packet without its number is none');
  }
  t.end();
});

t.test('netlink: no bytes make the decoders throw or read outside of them', (t) => {
  const seeds = [
    packetMessage(1, 2, 3, new Uint8Array(40), 1),
    connectionMessage(
      { original: SIX, reply: FOUR, mark: 1, status: 2, state: 3, id: 4, bytes: { original: 1, reply: 2 } },
      0x100,
    ),
  ];
  const damaged = fc
    .tuple(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
      fc.nat(),
    )
    .map(([seed, changes, cut]) => {
      const bytes = seed.slice();
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
    });
  const look = (bytes: Uint8Array): void => {
    for (const one of decodeMessages(bytes).received) {
      if (one.kind !== 'message') continue;
      if (one.end > bytes.length) throw new Error('a message reaches past the end');
      const packet = decodePacket(one);
      if (packet !== undefined && packet.bytes.length > bytes.length) throw new Error('too long');
      decodeConnection(one);
      decodeEntry(one);
      isConntrack(one);
    }
  };
  fc.assert(fc.property(damaged, look), { numRuns: 20_000 });
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), look), { numRuns: 5_000 });
  t.pass('nothing thrown');
  t.end();
});

t.test('netlink: a writer that grows in the middle of anything writes the same bytes', (t) => {
  const write = (writer: MessageWriter): void => {
    encodeVerdict(
      writer,
      { queue: 1, id: 7 },
      VERDICT.accept,
      { mark: 0xabcdef, bytes: Uint8Array.of(1, 2, 3) },
      9,
    );
    encodeMark(writer, SIX, { value: 5, mask: 15 }, { liberal: true, acknowledge: true }, 1);
    encodeSocketDestroy(writer, FOUR, 0, COOKIE, 2);
  };
  const expected = hex(written(write));
  // The buffer of a new writer is full at some place of the second half.
  for (let filled = 3_600; filled <= 4_096; filled += 4) {
    const bytes = written((writer) => write(writer.raw(new Uint8Array(filled))));
    if (hex(bytes.subarray(filled)) !== expected) t.fail(`after ${filled} bytes`);
  }
  t.pass('at every place');
  t.end();
});

t.test('netlink: what cannot be written leaves nothing half written', (t) => {
  const writer = new MessageWriter();
  const wrong = { ...FOUR, sourcePort: -1 };
  t.throws(() => encodeMark(writer, wrong, { value: 1, mask: 1 }, { liberal: true, acknowledge: true }, 1));
  t.throws(() => encodeDelete(writer, wrong, 1));
  t.throws(() => encodeSocketDestroy(writer, wrong, 0, COOKIE, 1));
  t.equal(writer.length, 0);
  t.end();
});

t.test('netlink: a writer grows, and what was taken is not sent again', (t) => {
  const writer = new MessageWriter();
  for (let id = 0; id < 500; id++) encodeVerdict(writer, { queue: 1, id }, VERDICT.accept, {}, 0);
  const { received, whole } = decodeMessages(writer.take());
  t.ok(whole);
  t.equal(received.length, 500);
  t.equal(writer.take().length, 0);
  t.equal(FLAG.request, 1);
  t.throws(() => writer.begin(1, 0, 0).bytes(1, new Uint8Array(65_536)), /at most 65531/);
  t.end();
});
