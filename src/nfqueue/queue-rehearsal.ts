import type { Curves } from '../lib/curves.ts';
import { DESTINATIONS } from '../proxy/rehearsed-pods.ts';
import { RehearsedSidecars } from '../proxy/rehearsed-sidecars.ts';
import { addressBytes } from './flow-endpoints.ts';
import { KernelPacketPath } from './kernel-packet-path.ts';
import { Marks } from './marks.ts';
import { type FlowTuple, HOOK } from './packet-path.ts';
import { buildPacket } from './packets-build.ts';
import { finishPacket } from './packets-checksum.ts';
import { reversedTuple, sequenceAdd, TCP_FLAG } from './packets.ts';
import { QueueProxy } from './queue-proxy.ts';
import { RehearsedQueue } from './rehearsed-queue.ts';

/** Sequence numbers of the client's and the server's SYN. */
const [CLIENT_INITIAL, SERVER_INITIAL] = [1_000_000, 2_000_000];
const FIRST_PORT = 40_000;
const WINDOW = 65_535;
/** Of a SYN as Linux writes them: largest segment, SACK, timestamps, window scale. */
const SYN_OPTIONS = Uint8Array.of(2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7);
/** Neither the kernel nor the file of flows hears of a rehearsal. */
const QUEUE = { firstQueue: 0, queues: 1, maxWaiting: 1, bufferBytes: 1, copyBytes: 1 };

/**
 * Plays first contacts between two sidecars that exist for it alone, from the SYN in the queue to the record, as `src/proxy/rehearsal.ts` does for the stream carrier: whatever packets and netlink
 * messages run through in TypeScript is called. The two kernels are the six packets of a handshake, and what they answer.
 */
export class QueueRehearsal {
  readonly #sidecars: RehearsedSidecars;
  readonly #client: RehearsedQueue;
  readonly #server: RehearsedQueue;
  readonly #proxies: readonly QueueProxy[];
  #played = 0;

  constructor(curves: Curves) {
    this.#sidecars = new RehearsedSidecars(curves, true);
    this.#client = new RehearsedQueue((packet) => this.#server.arrive(packet, HOOK.prerouting, () => {}));
    this.#server = new RehearsedQueue((packet) => this.#client.arrive(packet, HOOK.prerouting, () => {}));
    const { proxies, onDefect } = this.#sidecars;
    const marks = new Marks();
    const queues = [this.#client, this.#server];
    this.#proxies = proxies.map(
      ({ surroundings }, index) =>
        new QueueProxy({
          createPath: (events) => new KernelPacketPath(queues[index]!, marks, events),
          around: surroundings,
          marks,
          generation: 0,
          onFallback: (address, detail) => onDefect(new Error(`${address}: ${detail}`)),
          onLost: () => {},
          onFailed: onDefect,
          onDefect,
        }),
    );
    for (const proxy of this.#proxies) proxy.open(QUEUE);
  }

  /**
   * One first contact: neither side knows the other, nor what it knew before.
   * @returns whether both sides proved themselves in full and were allowed, by the policy that says so
   */
  play(): Promise<boolean> {
    const finish = (): void => {
      for (const proxy of this.#proxies) for (const one of [...proxy.flows.values()]) proxy.end(one);
    };
    return this.#sidecars.play(() => this.#call(FIRST_PORT + this.#played++), finish);
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies) await proxy.close();
    await this.#sidecars.close();
  }

  /** The packets of a call, each when the one before it has arrived. */
  #call(sourcePort: number): void {
    const [{ address, port }] = DESTINATIONS;
    const tuple: FlowTuple = {
      family: 4,
      sourceAddress: addressBytes(this.#sidecars.pods[0].address)!,
      sourcePort,
      destinationAddress: addressBytes(address)!,
      destinationPort: port,
    };
    const [client, server] = [this.#client, this.#server];
    const afterSyn = sequenceAdd(CLIENT_INITIAL, 1);
    const syn = opening(tuple, TCP_FLAG.syn, CLIENT_INITIAL, 0);
    const synAck = opening(reversedTuple(tuple), TCP_FLAG.syn | TCP_FLAG.ack, SERVER_INITIAL, afterSyn);
    const numbers = { sequence: afterSyn, acknowledgement: sequenceAdd(SERVER_INITIAL, 1), window: WINDOW };
    const ack = buildPacket(tuple, { ...numbers, flags: TCP_FLAG.ack });
    const proves = (): void =>
      client.arrive(ack, HOOK.output, (proof) => server.arrive(proof, HOOK.prerouting, () => {}));
    const answers = (): void =>
      server.arrive(synAck, HOOK.output, (reply) => client.arrive(reply, HOOK.prerouting, proves));
    client.arrive(syn, HOOK.output, (hello) => server.arrive(hello, HOOK.prerouting, answers));
  }
}

/** A SYN or SYN-ACK with the options of Linux. */
function opening(tuple: FlowTuple, flags: number, sequence: number, acknowledgement: number): Uint8Array {
  const bytes = buildPacket(tuple, {
    sequence,
    acknowledgement,
    flags,
    window: WINDOW,
    payload: SYN_OPTIONS,
  });
  const tcpAt = 20;
  bytes[tcpAt + 12] = (5 + SYN_OPTIONS.length / 4) << 4;
  finishPacket(bytes, tuple.family, tcpAt);
  return bytes;
}
