import t from 'tap';
import { firstConversation } from '../../src/demo/capture.ts';
import { totals } from '../../src/demo/totals.ts';

const A = [10, 0, 0, 1];
const B = [10, 0, 0, 2];

function packet(
  source: number[],
  destination: number[],
  sequence: number,
  flags: number,
  payload = '',
): Buffer {
  const ip = Buffer.alloc(20);
  ip[0] = 0x45;
  ip.writeUInt16BE(40 + payload.length, 2);
  ip[9] = 6;
  ip.set(source, 12);
  ip.set(destination, 16);
  const tcp = Buffer.alloc(20);
  tcp.writeUInt32BE(sequence >>> 0, 4);
  tcp[12] = 0x50;
  tcp[13] = flags;
  const frame = Buffer.concat([Buffer.alloc(14), ip, tcp, Buffer.from(payload)]);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(frame.length, 8);
  return Buffer.concat([header, frame]);
}

const FILE = Buffer.alloc(24);
FILE.writeUInt32LE(0xa1b2c3d4, 0);

t.test('capture: what the client said, in order and once, across the wrap of sequence numbers', (t) => {
  const pcap = Buffer.concat([
    FILE,
    packet(B, A, 1, 16, 'not this'),
    packet(A, B, 0xffff_fffe, 2),
    packet(A, B, 0xffff_ffff, 16),
    packet(A, B, 0xffff_ffff, 24, 'hello '),
    packet(A, B, 0xffff_ffff, 24, 'hello '),
    packet(A, B, 5, 24, 'world'),
    packet(A, B, 900, 2),
    packet(A, B, 901, 24, 'another connection'),
  ]);
  t.equal(firstConversation(pcap, '10.0.0.1', '10.0.0.2').toString(), 'hello world');
  t.equal(firstConversation(pcap, '10.0.0.9', '10.0.0.2').length, 0);
  t.equal(firstConversation(Buffer.from('no capture'), '10.0.0.1', '10.0.0.2').length, 0);
  t.equal(firstConversation(pcap.subarray(0, -5), '10.0.0.1', '10.0.0.2').toString(), 'hello world');
  t.end();
});

t.test('totals: counters of several pages are summed by direction, verdict and reason', (t) => {
  const page = (count: number) =>
    `# HELP x\ncountersign_connections_total{direction="inbound",verdict="deny",reason="replay",peer="unproven",handshake="none"} ${count}\nother 5\n`;
  t.strictSame(
    totals([page(1), page(2)]).map((line) => line.trim().split(/ +/)),
    [
      ['direction', 'verdict', 'reason', 'connections'],
      ['inbound', 'deny', 'replay', '3'],
    ],
  );
  t.end();
});
