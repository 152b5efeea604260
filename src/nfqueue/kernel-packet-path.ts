import { readFileSync } from 'node:fs';
import { isLinkLocal } from './flow-endpoints.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';
import type { NativeAddon, NativeNetlink, NativeRaw } from '../native.ts';
import {
  type Connection,
  decodeConnection,
  encodeDelete,
  encodeDump,
  encodeGet,
  encodeMark,
} from '../netlink/conntrack.ts';
import { decodeMessages } from '../netlink/message.ts';
import { MessageWriter } from '../netlink/message-writer.ts';
import { dumpAll, nameOf, PROTOCOL, type QueryAddon, QuerySocket } from '../netlink/query-socket.ts';
import {
  BIND_ANSWERS,
  decodePacket,
  encodeBind,
  encodeVerdict,
  isPacket,
  VERDICT,
} from '../netlink/queue.ts';
import { ConnectionCuts } from './connection-cuts.ts';
import type { Marks } from './marks.ts';
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
} from './packet-path.ts';
import { QueueGaps } from './queue-gaps.ts';
import type { QueuePasses } from './queue-passes.ts';
import { queueStatistics } from './queue-statistics.ts';

/** The functions of the addon that are called here. */
export type PacketAddon = QueryAddon &
  Pick<NativeAddon, 'netlinkListen' | 'rawOpen' | 'rawSend' | 'rawClose' | 'queuePassesEnded'>;

/** Orders are handed over at the latest when there are so many bytes of them. */
const FLUSH_BYTES = 256 * 1024;
/** The kernel's own bound: what fits into an attribute. */
const MOST_COPIED = 65_531;
const COUNTING_FILE = '/proc/sys/net/netfilter/nf_conntrack_acct';
const STATISTICS_FILE = '/proc/self/net/netfilter/nfnetlink_queue';

/**
 * NFQUEUE mode's way into the kernel of this network namespace: netlink for packets, verdicts and conntrack, raw sockets for packets of its own.
 *
 * The first queue has a socket of its own, so that strangers, who can fill the others, do not take the room of the pod's own calls. Orders go to the
 * kernel in the order in which they were given: those for one socket are handed over before the first one for the other, and a mark goes with
 * whatever was before it.
 */
export class KernelPacketPath implements PacketPath {
  readonly passing?: QueuePasses;
  readonly #addon: PacketAddon;
  readonly #marks: Marks;
  readonly #events: PacketPathEvents;
  readonly #orders = new MessageWriter();
  #opened:
    | {
        queues: ReadonlyMap<number, NativeNetlink>;
        raw: NativeRaw;
        conntrack: QuerySocket;
        sockets: QuerySocket;
        cuts: ConnectionCuts;
      }
    | undefined;
  #flushing = false;
  /** The socket that the orders are for. */
  #orderedBy: NativeNetlink | undefined;
  readonly #gaps = new QueueGaps();

  /** @param passing decides packets before they come here */
  constructor(addon: PacketAddon, marks: Marks, events: PacketPathEvents, passing?: QueuePasses) {
    if (passing !== undefined) this.passing = passing;
    this.#addon = addon;
    this.#marks = marks;
    this.#events = events;
  }

  open(options: OpenOptions): void {
    const { firstQueue, bufferBytes } = options;
    const others = Array.from({ length: options.queues - 1 }, (_, index) => firstQueue + 1 + index);
    const closers: (() => void)[] = [];
    try {
      const queues = new Map<number, NativeNetlink>();
      const sockets = new Map<NativeNetlink, Uint8Array[]>();
      for (const numbers of [[firstQueue], others]) {
        if (numbers.length === 0) continue;
        const netlink = this.#addon.netlinkOpen(PROTOCOL.netfilter, 0, bufferBytes);
        closers.push(() => this.#addon.netlinkClose(netlink));
        for (const number of numbers) queues.set(number, netlink);
        sockets.set(
          netlink,
          numbers.flatMap((number) => this.#bind(netlink, number, options)),
        );
      }
      const raw = this.#addon.rawOpen(this.#marks.own.value);
      closers.push(() => this.#addon.rawClose(raw));
      const conntrack = new QuerySocket(this.#addon, PROTOCOL.netfilter);
      closers.push(() => conntrack.close());
      const diagnosis = new QuerySocket(this.#addon, PROTOCOL.socketDiagnosis);
      closers.push(() => diagnosis.close());
      const cuts = new ConnectionCuts(diagnosis, conntrack, this.#marks.anyVerified, (error) =>
        this.#events.uncut?.(error),
      );
      this.#opened = { queues, raw, conntrack, sockets: diagnosis, cuts };
      this.passing?.askForEnds((records) => this.markEnded(records));
      for (const [netlink, early] of sockets) {
        const listen = (): void =>
          this.#addon.netlinkListen(
            netlink,
            (bytes, _lost, error) => this.#hear(bytes, error),
            this.passing?.handle,
          );
        if (early.length === 0) listen();
        else {
          setImmediate(() => {
            if (this.#opened === undefined) return;
            for (const bytes of early) this.#hearEarly(netlink, bytes);
            listen();
          });
        }
      }
    } catch (error) {
      this.#opened = undefined;
      for (const close of closers.toReversed()) close();
      throw explained(error);
    }
  }

  verdict(packet: QueuedPacket, verdict: PacketVerdict, options: VerdictOptions = {}): void {
    const netlink = this.#opened?.queues.get(packet.queue);
    if (netlink === undefined) return;
    if (netlink !== this.#orderedBy) {
      this.flush();
      this.#orderedBy = netlink;
    }
    if (verdict === 'drop') {
      encodeVerdict(this.#orders, packet, VERDICT.drop, {}, 0);
    } else {
      const { bytes, mark = packet.mark } = options;
      const change = verdict === 'repeat' ? options.mark : this.#marks.withAccepted(mark);
      encodeVerdict(this.#orders, packet, VERDICT[verdict], { mark: change, bytes }, 0);
    }
    this.#flushSoon();
  }

  sendPacket(bytes: Uint8Array, device = 0): void {
    this.flush();
    const destination = bytes[0]! >>> 4 === 4 ? bytes.subarray(16, 20) : bytes.subarray(24, 40);
    const by = isLinkLocal(destination) ? device : 0;
    try {
      if (this.#opened !== undefined) this.#addon.rawSend(this.#opened.raw, destination, by, bytes);
    } catch {
      // No route, a full queue, a rule of somebody else: lost, as any packet may be.
    }
  }

  setConnectionMark(tuple: FlowTuple, mark: number, mask: number): void {
    const verified = this.#marks.generationOf(mark) !== undefined;
    encodeMark(this.#orders, tuple, { value: mark, mask }, { liberal: verified, acknowledge: false }, 0);
    this.#flushSoon();
  }

  async findConnection(tuple: FlowTuple): Promise<ConntrackEntry | undefined> {
    this.flush();
    const message = this.#opened?.conntrack.find((writer, sequence) => encodeGet(writer, tuple, sequence));
    const found = message && decodeConnection(message);
    return found && entryOf(found);
  }

  async deleteConnection(tuple: FlowTuple): Promise<boolean> {
    this.flush();
    const conntrack = this.#opened?.conntrack;
    return conntrack?.request((writer, sequence) => encodeDelete(writer, tuple, sequence)) === 0;
  }

  cutConnection(tuple: FlowTuple, outgoing: boolean, device = 0): void {
    // What was ordered before goes before it; what is ordered behind it goes behind it, see {@link flush}.
    if (this.#orders.length > 0) this.flush();
    this.#opened?.cuts.add(tuple, outgoing, device);
    this.#flushSoon();
  }

  async dumpConnections(mark: number, mask: number): Promise<ConntrackEntry[]> {
    this.flush();
    return dumpAll(
      this.#addon,
      PROTOCOL.netfilter,
      (writer, sequence) => encodeDump(writer, { value: mark, mask }, sequence),
      (message) => {
        const found = decodeConnection(message);
        return found !== undefined && (found.mark & mask) >>> 0 === mark >>> 0 ? entryOf(found) : undefined;
      },
    );
  }

  markEnded(records: Uint8Array): void {
    this.flush();
    if (this.#opened === undefined) return;
    const { sockets, conntrack } = this.#opened;
    this.#addon.queuePassesEnded(sockets.socket, conntrack.socket, records);
  }

  get countsBytes(): boolean {
    try {
      return readFileSync(COUNTING_FILE, 'utf8').trim() === '1';
    } catch {
      return false; // conntrack is a module that nobody has loaded yet
    }
  }

  statistics(): QueueStatistics[] {
    const own = this.#opened?.queues;
    if (own === undefined) return [];
    return queueStatistics(readFileSync(STATISTICS_FILE, 'utf8')).filter(({ queue }) => own.has(queue));
  }

  async close(): Promise<void> {
    this.flush();
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened === undefined) return;
    for (const netlink of new Set(opened.queues.values())) this.#addon.netlinkClose(netlink);
    this.#addon.rawClose(opened.raw);
    opened.conntrack.close();
    opened.sockets.close();
    this.passing?.close();
  }

  /** @returns what came besides the kernel's answers: the queue may have packets at once */
  #bind(netlink: NativeNetlink, queue: number, options: OpenOptions): Uint8Array[] {
    const writer = new MessageWriter();
    const copyBytes = Math.min(options.copyBytes, MOST_COPIED);
    encodeBind(writer, { queue, maxLength: options.maxWaiting, copyBytes, gso: false }, queue);
    this.#addon.netlinkSend(netlink, writer.take());
    const early: Uint8Array[] = [];
    let answers = 0;
    while (answers < BIND_ANSWERS) {
      const datagram = this.#addon.netlinkReceive(netlink);
      if (datagram === undefined) throw new Error('the kernel has not answered');
      for (const one of decodeMessages(datagram).received) {
        if (one.kind === 'message') early.push(datagram);
        else {
          answers++;
          if (one.errno !== 0) throw new QueueRefused(queue, one.errno);
        }
      }
    }
    return early;
  }

  /** What came before the socket was listened to goes the same way as what comes afterwards. */
  #hearEarly(netlink: NativeNetlink, datagram: Uint8Array): void {
    const orders = this.passing?.decide(datagram);
    if (orders === undefined) this.#hear(datagram, undefined);
    else this.#addon.netlinkSend(netlink, orders);
  }

  #hear(received: Uint8Array, error: string | undefined): void {
    if (this.#opened === undefined) return;
    if (received.length === 0 && error === undefined) this.#events.passed?.();
    const packets: QueuedPacket[] = [];
    let missing = this.passing?.missing() ?? 0;
    for (const one of decodeMessages(received).received) {
      // Answers are those to verdicts for packets, and marks for connections, that are gone.
      if (one.kind !== 'message' || !isPacket(one)) continue;
      const packet = decodePacket(one);
      if (packet === undefined) continue;
      const { queue, id, hook, mark, inDevice, outDevice, bytes, wholeLength } = packet;
      if (this.passing === undefined) missing += this.#gaps.missingBefore(queue, id);
      packets.push({
        queue,
        id,
        hook,
        mark,
        inInterface: inDevice,
        outInterface: outDevice,
        bytes,
        truncated: wholeLength > bytes.length,
      });
    }
    if (missing > 0) this.#events.lost(missing);
    if (packets.length > 0) this.#events.packets(packets);
    this.flush();
    if (error !== undefined)
      this.#events.failed(new Error(`the netlink socket of the queues failed: ${error}`));
  }

  #flushSoon(): void {
    if (this.#orders.length > FLUSH_BYTES) this.flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(() => {
        this.#flushing = false;
        this.flush();
      });
    }
  }

  /** First the cuts: what was ordered before them has gone. */
  flush(): void {
    this.#opened?.cuts.flush();
    if (this.#orders.length === 0) return;
    const orders = this.#orders.take();
    if (this.#opened === undefined) return;
    const [anyone] = this.#opened.queues.values();
    try {
      this.#addon.netlinkSend(this.#orderedBy ?? anyone!, orders);
    } catch (error) {
      // The packets that these were about stay in the queue: nothing passes, but the caller has to know.
      const failed = new Error(`verdicts could not be handed to the kernel: ${messageOf(error)}`);
      setImmediate(() => this.#events.failed(failed));
    }
  }
}

class QueueRefused extends Error {
  constructor(queue: number, errno: number) {
    super(
      errno === 1
        ? `queue ${queue} is bound by another process, or the capability NET_ADMIN is missing: see /proc/net/netfilter/nfnetlink_queue for who has it`
        : `queue ${queue} cannot be bound: ${nameOf(errno)}`,
    );
  }
}

function explained(error: unknown): UserError {
  const code = (error as NodeJS.ErrnoException).code;
  let said = messageOf(error);
  if (code === 'EPROTONOSUPPORT') {
    said =
      'this kernel has no nfnetlink: load the modules nfnetlink_queue, nf_conntrack_netlink and tcp_diag on the node';
  } else if (code === 'EPERM') {
    said =
      "it takes the capabilities NET_ADMIN and NET_RAW in this network namespace; a process that is not root has them from its file (Countersign's image) or ambient";
  }
  return new UserError(`NFQUEUE mode cannot be started: ${said}`, { exitCode: EXIT.failure, cause: error });
}

function entryOf({ original, id, mark, state, bytes }: Connection): ConntrackEntry {
  return { tuple: original, id, mark, tcpState: state, bytes };
}
