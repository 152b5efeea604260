/**
 * Stands in for the proxy's NFQUEUE side, in the network namespace of a test: `accept` lets everything pass, `verify` marks a connection as
 * verified behind its first packet that is no SYN, `stream` sends opening packets to the listeners, `turn` does so from a connection's second SYN on,
 * whose entry in conntrack it deletes while that SYN waits, `drop` drops, `opening` drops all but SYNs and SYN-ACKs. Each line of standard input changes that; each packet is a line of standard
 * output.
 */
import { createInterface } from 'node:readline';
import { loadAddon } from '../../src/native.ts';
import { KernelPacketPath } from '../../src/nfqueue/kernel-packet-path.ts';
import { Marks } from '../../src/nfqueue/marks.ts';
import type { FlowTuple, QueuedPacket } from '../../src/nfqueue/packet-path.ts';
import { seen } from '../support/tcp-packet.ts';

const marks = new Marks();
let how = process.argv[2] ?? 'accept';
/** SYNs by their source port, with `turn`. */
const turned = new Map<number, number>();

function tupleOf(bytes: Uint8Array): FlowTuple {
  const { family, sourcePort, destinationPort } = seen(bytes);
  const [at, length] = family === 6 ? [8, 16] : [12, 4];
  return {
    family,
    sourceAddress: bytes.slice(at, at + length),
    sourcePort,
    destinationAddress: bytes.slice(at + length, at + 2 * length),
    destinationPort,
  };
}

function decide(packet: QueuedPacket): void {
  const { sourcePort, destinationPort, flags, data } = seen(packet.bytes);
  const kind = flags.rst ? 'rst' : flags.syn ? (flags.ack ? 'synack' : 'syn') : 'ack';
  process.stdout.write(
    `${kind} ${packet.hook === 3 ? 'out' : 'in'} ${sourcePort}>${destinationPort} queue ${packet.queue} data ${data.length} mark ${packet.mark}\n`,
  );
  if (how === 'drop' || (how === 'opening' && !flags.syn)) return path.verdict(packet, 'drop');
  if (how === 'turn' && kind === 'syn') {
    const seenBefore = turned.get(sourcePort) ?? 0;
    turned.set(sourcePort, seenBefore + 1);
    if (seenBefore === 0) return path.verdict(packet, 'accept');
    if (seenBefore === 1) void path.deleteConnection(tupleOf(packet.bytes));
    return path.verdict(packet, 'accept', { mark: marks.withStream(packet.mark) });
  }
  if (how === 'stream' && kind === 'syn') {
    return path.verdict(packet, 'accept', { mark: marks.withStream(packet.mark) });
  }
  path.verdict(packet, 'accept');
  // Only the side that called sends such a packet first, and so the tuple is the original one.
  if (how === 'verify' && kind === 'ack')
    path.setConnectionMark(tupleOf(packet.bytes), marks.verified(1), marks.mask);
}

const path = new KernelPacketPath(loadAddon(), marks, {
  packets: (batch) => batch.forEach(decide),
  lost: (count) => process.stdout.write(`lost ${count}\n`),
  failed: (error) => process.stdout.write(`failed ${error.message}\n`),
});
path.open({ firstQueue: 14_100, queues: 2, maxWaiting: 1024, bufferBytes: 1_048_576, copyBytes: 65_535 });
process.stdout.write('up\n');
createInterface({ input: process.stdin }).on('line', (line) => {
  how = line.trim();
  process.stdout.write(`now ${how}\n`);
});
