import type {
  ConntrackEntry,
  FlowTuple,
  OpenOptions,
  PacketPath,
  PacketPathEvents,
  PacketVerdict,
  QueuedPacket,
  QueueStatistics,
  VerdictOptions,
} from '../../src/nfqueue/packet-path.ts';
import { HOOK } from '../../src/nfqueue/packet-path.ts';
import type { Marks } from '../../src/nfqueue/marks.ts';
import { tupleKey } from '../../src/nfqueue/flow-key.ts';
import { markRecords } from '../../src/nfqueue/pass-records.ts';
import { isClosing } from '../../src/nfqueue/recovery.ts';
import type { QueuePasses } from '../../src/nfqueue/queue-passes.ts';
import { encodeQueued, readOrders } from './queue-messages.ts';
import { isOpening, parseTcpPacket, reversedTuple, tupleOf, TCP_FLAG } from '../../src/nfqueue/packets.ts';

/** The kernel's side of a pod, in memory: rules, conntrack marks and queues. Packets are decided in the call that brings them. */
export class SimulatedPacketPath implements PacketPath {
  /** Marks of connections, by their own end first. */
  readonly marks = new Map<string, { tuple: FlowTuple; mark: number }>();
  readonly destroyed: FlowTuple[] = [];
  readonly deleted: FlowTuple[] = [];
  /** How many packets were queued. */
  queued = 0;
  isOpen = false;
  /** Whether the kernel has a socket for what is asked about. */
  socketLives = true;
  /** What conntrack says of connections: TCP_CONNTRACK_*. */
  tcpState = 3;
  readonly #events: PacketPathEvents;
  readonly #marks: Marks;
  readonly #own: (address: Uint8Array) => boolean;
  readonly #toKernel: (bytes: Uint8Array) => void;
  readonly #toNetwork: (bytes: Uint8Array) => void;
  readonly #toListener: (bytes: Uint8Array, hook: number) => void;
  readonly passing?: QueuePasses;
  /** Packets that a pass has decided. */
  passed = 0;
  /** What it has dropped. */
  dropped = 0;
  /** Whether it is said that there is something to tell of passes; not in a burst, where it is kept back. */
  tellsOfPasses = true;
  /** Packets that come together, in one batch, with the next {@link deliver}; undefined: each comes alone. */
  #together: QueuedPacket[] | undefined;
  readonly #pending = new Map<QueuedPacket, (verdict: PacketVerdict, options?: VerdictOptions) => void>();
  #number = 0;

  constructor(
    events: PacketPathEvents,
    marks: Marks,
    kernel: {
      own: (address: Uint8Array) => boolean;
      toKernel: (bytes: Uint8Array) => void;
      toNetwork: (bytes: Uint8Array) => void;
      toListener: (bytes: Uint8Array, hook: number) => void;
    },
    passing?: QueuePasses,
  ) {
    if (passing !== undefined) {
      this.passing = passing;
      passing.askForEnds((records) => this.markEnded(records));
    }
    this.#events = events;
    this.#marks = marks;
    this.#own = kernel.own;
    this.#toKernel = kernel.toKernel;
    this.#toNetwork = kernel.toNetwork;
    this.#toListener = kernel.toListener;
  }

  /** A packet that the own kernel sends, or that comes from the network. */
  arrive(bytes: Uint8Array, outgoing: boolean): void {
    const deliver = outgoing ? this.#toNetwork : this.#toKernel;
    const packet = parseTcpPacket(bytes);
    const hook = outgoing ? HOOK.output : HOOK.prerouting;
    if (!('error' in packet)) {
      const marked = this.marks.get(tupleKey(tupleOf(packet), outgoing));
      const verified = marked !== undefined && this.#marks.generationOf(marked.mark) !== undefined;
      if (verified && (packet.flags & TCP_FLAG.syn) === 0) return deliver(bytes);
    }
    // The rules take the mark from an entry that a new connection finds: outbound before the queue, inbound when it was accepted.
    const opens = !('error' in packet) && isOpening(packet);
    if (opens && outgoing) this.#unmark(tupleKey(tupleOf(packet), true));
    this.queued++;
    if (!this.isOpen) return;
    const queued: QueuedPacket = {
      queue: 0,
      id: this.#number++,
      hook,
      mark: 0,
      inInterface: 0,
      outInterface: 0,
      bytes,
      truncated: false,
    };
    const decide = (verdict: PacketVerdict, options?: VerdictOptions): void => {
      if (verdict !== 'accept') return;
      if (opens && !outgoing) this.#unmark(tupleKey(tupleOf(packet), false));
      const stream = options?.mark !== undefined && options.mark === this.#marks.withStream(0);
      if (stream && !('error' in packet) && isOpening(packet))
        this.#toListener(options?.bytes ?? bytes, hook);
      else deliver(options?.bytes ?? bytes);
    };
    const orders = this.passing?.decide(encodeQueued(queued));
    if (orders !== undefined) {
      const read = readOrders(orders, queued, this.#marks);
      if (read.some(({ kind }) => kind === 'drop')) {
        this.dropped++;
        return;
      }
      this.passed++;
      if (this.tellsOfPasses) this.#events.passed?.();
      for (const order of read) {
        if (order.kind === 'drop') continue;
        if (order.kind === 'mark') this.setConnectionMark(order.tuple, order.mark, order.mask);
        else decide('accept', { bytes: order.bytes });
      }
      return;
    }
    this.#pending.set(queued, decide);
    if (this.#together === undefined) this.#events.packets([queued]);
    else this.#together.push(queued);
  }

  /** Keeps what comes. */
  hold(): void {
    this.#together = [];
  }

  /** What came since {@link hold}, in one batch. */
  deliver(): void {
    const batch = this.#together ?? [];
    this.#together = undefined;
    this.#events.packets(batch);
  }

  #unmark(key: string): void {
    const found = this.marks.get(key);
    if (found !== undefined) this.marks.set(key, { ...found, mark: 0 });
  }

  /** Packets without a verdict: there should never be any. */
  get undecided(): number {
    return this.#pending.size;
  }

  open(_options: OpenOptions): void {
    this.isOpen = true;
  }

  verdict(packet: QueuedPacket, verdict: PacketVerdict, options?: VerdictOptions): void {
    const decide = this.#pending.get(packet);
    this.#pending.delete(packet);
    decide?.(verdict, options);
  }

  /** Orders are carried out as they are given. */
  flush(): void {}

  sendPacket(bytes: Uint8Array): void {
    const packet = parseTcpPacket(bytes);
    if ('error' in packet) throw new Error(`a broken packet is sent: ${packet.error}`);
    if (this.#own(tupleOf(packet).destinationAddress)) this.#toKernel(bytes);
    else this.#toNetwork(bytes);
  }

  setConnectionMark(tuple: FlowTuple, mark: number, mask: number): void {
    const key = tupleKey(tuple, this.#own(tuple.sourceAddress));
    const before = this.marks.get(key)?.mark ?? 0;
    this.marks.set(key, { tuple, mark: ((before & ~mask) | mark) >>> 0 });
  }

  findConnection(tuple: FlowTuple): Promise<ConntrackEntry | undefined> {
    const found = this.marks.get(tupleKey(tuple, this.#own(tuple.sourceAddress)));
    return Promise.resolve(found && entryOf(found, this.tcpState));
  }

  deleteConnection(tuple: FlowTuple): Promise<boolean> {
    this.deleted.push(tuple);
    return Promise.resolve(this.marks.delete(tupleKey(tuple, this.#own(tuple.sourceAddress))));
  }

  cutConnection(tuple: FlowTuple, outgoing: boolean): void {
    this.destroyed.push(outgoing ? tuple : reversedTuple(tuple));
    this.deleted.push(tuple);
    const { value, mask } = this.#marks.anyVerified;
    const key = tupleKey(tuple, outgoing);
    if (((this.marks.get(key)?.mark ?? 0) & mask) >>> 0 === value) this.marks.delete(key);
  }

  dumpConnections(mark: number, mask: number): Promise<ConntrackEntry[]> {
    const found = [...this.marks.values()].filter((one) => (one.mark & mask) >>> 0 === mark);
    const entries = found.map((one) => entryOf(one, this.tcpState));
    return Promise.resolve(entries);
  }

  markEnded(records: Uint8Array): void {
    markRecords(records, ({ key }) => {
      const inConntrack = (this.marks.get(key)?.mark ?? 0) !== 0;
      return !this.socketLives && (!inConntrack || isClosing(this.tcpState));
    });
  }

  readonly countsBytes = false;

  statistics(): QueueStatistics[] {
    return [];
  }

  close(): Promise<void> {
    this.isOpen = false;
    this.passing?.close();
    return Promise.resolve();
  }
}

function entryOf({ tuple, mark }: { tuple: FlowTuple; mark: number }, tcpState: number): ConntrackEntry {
  return { tuple, id: 1, mark, tcpState, bytes: undefined };
}
