import fc from 'fast-check';
import t from 'tap';
import { frameAtStart, frameBefore, wholeFrame } from '../../src/nfqueue/carrier-frames.ts';
import { FrameFormat } from '../../src/handshake/format.ts';
import { buildPacket, withPayload } from '../../src/nfqueue/packets-build.ts';
import { finishPacket, hasRightChecksum, write16 } from '../../src/nfqueue/packets-checksum.ts';
import { readSynOptions, windowAfter } from '../../src/nfqueue/packets-options.ts';
import {
  parseTcpPacket,
  payloadOf,
  read16,
  sequenceAdd,
  sequenceDistance,
  TCP_FLAG,
  type TcpPacket,
} from '../../src/nfqueue/packets.ts';
import { packetOf } from './wire-reading.ts';

const address = (family: 4 | 6) =>
  fc.uint8Array({ minLength: family * 4 - (family === 6 ? 8 : 12), maxLength: family === 4 ? 4 : 16 });
const port = fc.integer({ min: 0, max: 65_535 });
const number = fc.integer({ min: 0, max: 0xffff_ffff });
const tuple = fc.constantFrom<4 | 6>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    sourceAddress: address(family).filter(({ length }) => length === (family === 4 ? 4 : 16)),
    sourcePort: port,
    destinationAddress: address(family).filter(({ length }) => length === (family === 4 ? 4 : 16)),
    destinationPort: port,
  }),
);
const segment = fc.record({
  sequence: number,
  acknowledgement: number,
  flags: fc.integer({ min: 0, max: 63 }),
  window: port,
  payload: fc.uint8Array({ maxLength: 1_500 }),
});

/** The checksum as RFC 1071 words it, over pseudo-header and segment, another way than the product computes it. */
function oracleChecksum(bytes: Uint8Array, family: 4 | 6): number {
  const header = family === 4 ? 20 : 40;
  const tcp = Buffer.from(bytes.subarray(header));
  tcp.writeUInt16BE(0, 16);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(tcp.length, 2);
  const addresses = family === 4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  const all = Buffer.concat([
    addresses,
    Buffer.from([0, 6]),
    pseudo.subarray(2),
    tcp,
    Buffer.alloc(tcp.length % 2),
  ]);
  let sum = 0n;
  for (let at = 0; at < all.length; at += 2) sum += BigInt(all.readUInt16BE(at));
  const rest = Number(sum % 0xffffn);
  return rest === 0 ? 0 : 0xffff - rest;
}

t.test('packets: what is built is read back, with the checksums that RFC 1071 asks for', (t) => {
  fc.assert(
    fc.property(tuple, segment, (flow, says) => {
      const bytes = buildPacket(flow, says);
      const packet = packetOf(bytes);
      const checksum = Buffer.from(bytes).readUInt16BE(packet.tcpAt + 16);
      const expected = oracleChecksum(bytes, flow.family);
      return (
        packet.sequence === says.sequence &&
        packet.acknowledgement === says.acknowledgement &&
        packet.flags === says.flags &&
        packet.sourcePort === flow.sourcePort &&
        packet.destinationPort === flow.destinationPort &&
        Buffer.compare(payloadOf(packet), says.payload) === 0 &&
        hasRightChecksum(packet) &&
        (checksum === expected || checksum % 0xffff === expected % 0xffff)
      );
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test('packets: one changed bit makes the checksum wrong', (t) => {
  fc.assert(
    fc.property(tuple, segment, fc.nat(), fc.integer({ min: 0, max: 7 }), (flow, says, where, bit) => {
      const bytes = buildPacket(flow, says);
      const { tcpAt } = packetOf(bytes);
      const at = tcpAt + (where % (bytes.length - tcpAt));
      bytes[at] = bytes[at]! ^ (1 << bit);
      const packet = parseTcpPacket(bytes);
      return 'error' in packet || !hasRightChecksum(packet);
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test('packets: with another payload everything else stays, and the checksums are right again', (t) => {
  fc.assert(
    fc.property(
      tuple,
      segment,
      fc.uint8Array({ maxLength: 1_200 }),
      number,
      (flow, says, payload, sequence) => {
        // An urgent pointer moves along: a test of its own.
        const packet = packetOf(buildPacket(flow, { ...says, flags: says.flags & ~TCP_FLAG.urg }));
        const changed = packetOf(withPayload(packet, [payload], sequence));
        const back = withPayload(changed, [says.payload], says.sequence);
        return (
          hasRightChecksum(changed) &&
          changed.sequence === sequence &&
          Buffer.compare(back, packet.bytes) === 0
        );
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});

t.test('packets: any bytes are either refused or read inside their bounds', (t) => {
  const near = fc
    .tuple(tuple, segment, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 6 }))
    .map(([flow, says, changes]) => {
      const bytes = buildPacket(flow, says);
      for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 80)] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), near), fc.nat({ max: 200 }), (whole, cut) => {
      for (const bytes of [whole, whole.subarray(0, cut)]) {
        const packet = parseTcpPacket(bytes);
        if ('error' in packet) continue;
        if (packet.payloadAt > packet.bytes.length || packet.bytes.length > bytes.length) return false;
        if (packet.payloadAt < packet.tcpAt + 20) return false;
        const options = readSynOptions(packet);
        for (const { at, length } of options?.fastOpen ?? []) {
          if (at < packet.tcpAt + 20 || at + length > packet.payloadAt) return false;
        }
        frameAtStart(packet);
        wholeFrame(packet);
        frameBefore(packet, 5);
      }
      return true;
    }),
    { numRuns: 5_000 },
  );
  t.end();
});

t.test('packets: what the kernel would read and this mode would not is refused', (t) => {
  const flow = {
    family: 4 as const,
    sourceAddress: Uint8Array.of(10, 0, 0, 1),
    sourcePort: 1,
    destinationAddress: Uint8Array.of(10, 0, 0, 2),
    destinationPort: 2,
  };
  const four = (change: (bytes: Uint8Array) => void): unknown => {
    const bytes = buildPacket(flow, {
      sequence: 1,
      acknowledgement: 2,
      flags: 2,
      payload: new Uint8Array(60),
    });
    change(bytes);
    return parseTcpPacket(bytes);
  };
  const wide = {
    ...flow,
    family: 6 as const,
    sourceAddress: new Uint8Array(16),
    destinationAddress: new Uint8Array(16),
  };
  const six = (change: (bytes: Uint8Array) => void): unknown => {
    const bytes = buildPacket(wide, {
      sequence: 1,
      acknowledgement: 2,
      flags: 2,
      payload: new Uint8Array(60),
    });
    change(bytes);
    return parseTcpPacket(bytes);
  };
  t.match(
    four((bytes) => (bytes[0] = 0x46)),
    { error: 'IPv4 options' },
  );
  t.match(
    four((bytes) => (bytes[6] = 0x20)),
    { error: 'a fragment' },
    'more fragments',
  );
  t.match(
    four((bytes) => (bytes[7] = 1)),
    { error: 'a fragment' },
    'an offset',
  );
  t.match(
    four((bytes) => (bytes[9] = 17)),
    { error: /not TCP/ },
  );
  t.match(
    four((bytes) => (bytes[2] = 1)),
    { error: /announced/ },
    'longer than it is',
  );
  t.match(
    four((bytes) => (bytes[32] = 0x40)),
    { error: 'TCP header length' },
  );
  t.match(
    four((bytes) => (bytes[32] = 0xf0)),
    { sequence: 1 },
    'a header with options up to its limit',
  );
  t.match(
    four((bytes) => (bytes[0] = 0x55)),
    { error: /neither/ },
  );
  for (const header of [0, 43, 44, 50, 51, 60, 135]) {
    t.match(
      six((bytes) => (bytes[6] = header)),
      { error: /next header/ },
      `IPv6 extension header ${header}`,
    );
  }
  t.end();
});

t.test('packets: options of a SYN are read, and Fast Open is found in both of its forms', (t) => {
  const withOptions = (...options: number[]) => {
    const length = Math.ceil(options.length / 4) * 4;
    const payload = Uint8Array.from([
      ...options,
      ...Array.from({ length: length - options.length }, () => 0),
    ]);
    const flow = {
      family: 4 as const,
      sourceAddress: Uint8Array.of(10, 0, 0, 1),
      sourcePort: 1,
      destinationAddress: Uint8Array.of(10, 0, 0, 2),
      destinationPort: 2,
    };
    const bytes = buildPacket(flow, { sequence: 1, acknowledgement: 0, flags: 2, payload });
    bytes[32] = (5 + length / 4) << 4;
    finishPacket(bytes, 4, 20);
    return packetOf(bytes);
  };
  t.match(readSynOptions(withOptions(2, 4, 5, 0xb4)), { maximumSegment: 1460, fastOpen: [] });
  t.match(readSynOptions(withOptions()), { maximumSegment: 536, windowShift: undefined });
  t.match(readSynOptions(withOptions(1, 3, 3, 7)), { windowShift: 7 });
  t.match(readSynOptions(withOptions(3, 3, 200)), { windowShift: 14 }, 'as RFC 7323 reads it');
  t.equal(readSynOptions(withOptions(3, 2, 1, 1)), undefined, 'a shift of no bytes');
  t.match(readSynOptions(withOptions(1, 34, 4, 9, 9, 2, 4, 1, 0)), {
    maximumSegment: 256,
    fastOpen: [{ at: 41, length: 4 }],
  });
  t.match(readSynOptions(withOptions(254, 6, 0xf9, 0x89, 1, 1)), { fastOpen: [{ at: 40, length: 6 }] });
  t.match(readSynOptions(withOptions(254, 6, 0xf9, 0x88, 1, 1)), { fastOpen: [] });
  t.equal(readSynOptions(withOptions(2, 3, 5, 0)), undefined, 'an MSS of three bytes');
  t.equal(readSynOptions(withOptions(34, 40, 1, 1)), undefined, 'longer than the header');
  t.equal(readSynOptions(withOptions(34, 1, 1, 1)), undefined, 'a length that would never end');
  t.end();
});

t.test('packets: the urgent byte stays the same one when bytes are put before it or taken away', (t) => {
  const flow = {
    family: 4 as const,
    sourceAddress: Uint8Array.of(10, 0, 0, 1),
    sourcePort: 1,
    destinationAddress: Uint8Array.of(10, 0, 0, 2),
    destinationPort: 2,
  };
  const segment = { sequence: 0xffff_fff0, acknowledgement: 1, flags: TCP_FLAG.ack | TCP_FLAG.urg };
  const withPointer = (pointer: number): TcpPacket => {
    const bytes = buildPacket(flow, segment);
    write16(bytes, 38, pointer);
    finishPacket(bytes, 4, 20);
    return packetOf(bytes);
  };
  for (const [pointer, sequence, expected] of [
    [5, 0xffff_fff0 - 100, 105],
    [105, 0x54, 5],
    [100, 0x54, undefined],
    [1, 0x54, undefined],
    [65_500, 0xffff_fff0 - 100, 65_535],
    [7, 0xffff_fff0, 7],
  ] as const) {
    const moved = packetOf(withPayload(withPointer(pointer), [Uint8Array.of(1)], sequence));
    const isUrgent = (moved.flags & TCP_FLAG.urg) !== 0;
    t.equal(isUrgent ? read16(moved.bytes, 38) : undefined, expected, `${pointer} from ${sequence}`);
    t.ok(hasRightChecksum(moved));
  }
  t.end();
});

t.test('packets: a window is shifted behind the SYN alone, and only where both sides shift', (t) => {
  for (const [announced, own, other, expected] of [
    [65_535, 7, 7, 511],
    [65_535, 0, 14, 65_535],
    [65_535, 14, 0, 3],
    [65_535, undefined, 7, 65_535],
    [65_535, 7, undefined, 65_535],
  ] as const) {
    t.equal(windowAfter(announced, { windowShift: own }, { windowShift: other }), expected);
  }
  t.end();
});

t.test('packets: a frame counts only where it ends at the beginning of the stream', (t) => {
  const frame = Uint8Array.from([...FrameFormat.magic, 1, 3, 0, 3, 7, 7, 7]);
  const flow = {
    family: 4 as const,
    sourceAddress: Uint8Array.of(10, 0, 0, 1),
    sourcePort: 1,
    destinationAddress: Uint8Array.of(10, 0, 0, 2),
    destinationPort: 2,
  };
  for (const start of [1, 5, 0, 0xffff_fffe, 0x8000_0000]) {
    const at = (sequence: number, payload: Uint8Array) =>
      frameBefore(packetOf(buildPacket(flow, { sequence, acknowledgement: 0, flags: 16, payload })), start);
    const before = sequenceAdd(start, -frame.length);
    t.strictSame(at(before, frame), frame);
    t.strictSame(at(before, Buffer.concat([frame, Buffer.from('GET /')])), frame, 'data may follow');
    t.equal(at(start, frame), undefined, 'the same bytes as data of the application');
    t.equal(at(sequenceAdd(before, 1), frame), undefined);
    t.equal(at(sequenceAdd(before, -1), frame), undefined);
    t.equal(at(before, frame.subarray(0, 12)), undefined, 'cut short');
  }
  t.equal(sequenceDistance(0xffff_ffff, 1), 2);
  t.equal(sequenceDistance(1, 0xffff_ffff), -2);
  t.end();
});
