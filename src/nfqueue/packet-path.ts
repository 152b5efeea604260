/**
 * The seam between the NFQUEUE mode and the kernel: packets come up, verdicts and a few orders go down. Everything that packets mean is
 * decided above it; below it are netlink messages (`src/netlink/`) and a transport that moves their bytes.
 *
 * What the rules of the namespace hand over is part of the seam (`redirect apply --mode nfqueue` makes them). The queueing rules never see loopback, the
 * proxy's own traffic, or a redirected connection:
 *
 * - raw PREROUTING queues every SYN that comes, before conntrack; mangle OUTPUT, before nat, and mangle INPUT, behind it, queue every SYN that goes and
 *   every SYN-ACK, whatever its mark, and every other TCP packet of a connection whose connmark is not `verified`. So addresses and ports are those that
 *   the pod's own sockets know.
 * - nat OUTPUT and nat PREROUTING redirect to the proxy's listeners what a verdict marked `stream` (`src/nfqueue/marks.ts`).
 *
 * A queue without a listener, or a full one, drops.
 */

import type { EndedPass, PassRecord } from './pass-records.ts';

/** Where a packet was queued: the numbers of NF_INET_* in linux/netfilter.h. PREROUTING and INPUT are inbound, the others outbound. */
export const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

/** One packet that waits for its verdict. */
export interface QueuedPacket {
  /** The queue's number and the packet's number in it (NFQA_PACKET_HDR): together they name it once. */
  readonly queue: number;
  readonly id: number;
  /** A number of {@link HOOK}. */
  readonly hook: number;
  /** The packet's own mark (NFQA_MARK), 0 when there is none. */
  readonly mark: number;
  /** Interface indexes, 0 where there is none. */
  readonly inInterface: number;
  readonly outInterface: number;
  /** From the IP header on, whole, with finished checksums. Valid until the verdict; it may be kept and changed. */
  readonly bytes: Uint8Array;
  /** Set when the packet was longer than what the kernel copied: `bytes` is its beginning. */
  readonly truncated: boolean;
  /** Where the kernel attaches conntrack (CONFIG_NETFILTER_NETLINK_GLUE_CT). Nothing may depend on it. */
  readonly conntrack?: { readonly id: number; readonly mark: number };
}

/** What the kernel reports. Called from the event loop, never from inside a call of {@link PacketPath}. */
export interface PacketPathEvents {
  /** Packets in the order of their queue; a flow is always in the same queue. Each needs exactly one verdict. */
  packets(batch: readonly QueuedPacket[]): void;
  /** The kernel could not hand over packets (ENOBUFS): they were dropped. `count` as far as it is known, at least 1. */
  lost(count: number): void;
  /** A pass has decided packets: what became of them is to be taken soon. */
  passed?(): void;
  /** The kernel refuses to end some connections that were to be cut. */
  uncut?(error: Error): void;
  /** The path is unusable from here on: packets are dropped by the kernel. */
  failed(error: Error): void;
}

/** `repeat` runs the packet through its table again (NF_REPEAT). */
export type PacketVerdict = 'accept' | 'drop' | 'repeat';

/**
 * What a path may offer besides: packets that a pass foresees get their verdict below it, and what became of them is told afterwards. Whoever takes
 * that before it looks at anything else sees all in the order in which it happened.
 */
export interface PacketPassing {
  /** A connection with this key (`src/nfqueue/flow-key.ts`) and the sequence number of its SYN is known above; `outgoing`: this pod opened it; `waiting`: no SYN there goes by a pass. */
  claim(key: string, initial: number, outgoing: boolean, waiting: boolean): void;
  /** Whether one more connection, whose ports nobody has, fits the bound of all; if not it is counted as refused. */
  admits(key: string, outgoing: boolean): boolean;
  /** It is over. */
  release(key: string, initial: number): void;
  /**
   * What passes have done. A connection that they have established may be kept back, and is told when more happens to it, or asked for.
   * @param handOverMs what they have begun so many milliseconds ago, or earlier, is not theirs any more
   * @param keptBackMs what was kept back for so many milliseconds, or longer, is told
   * @param onEnded hears of those that were kept back and are over by now: others have their ports, or the kernel says so
   * @param askForEnds whether the kernel is asked; where it cannot be, they are told as open ones
   */
  take(
    handOverMs: number,
    keptBackMs: number,
    onEnded: (one: EndedPass) => void,
    askForEnds: boolean,
  ): readonly PassRecord[];
  /** How many are kept back. */
  readonly keptBack: number;
  /** Whether the connection with this key was kept back: it is told next. */
  reveal(key: string): boolean;
}

/** What goes with an accepted packet. */
export interface VerdictOptions {
  /** The packet's new mark, all 32 bits: the caller keeps foreign bits. */
  readonly mark?: number;
  /** The packet's new bytes from the IP header on, checksums done (NFQA_PAYLOAD). */
  readonly bytes?: Uint8Array;
}

/** A TCP connection in the direction of its first packet, as this namespace saw it before any address translation of its own. */
export interface FlowTuple {
  readonly family: 4 | 6;
  /** Four or sixteen bytes in network order. */
  readonly sourceAddress: Uint8Array;
  readonly sourcePort: number;
  readonly destinationAddress: Uint8Array;
  readonly destinationPort: number;
}

/** An entry of conntrack. */
export interface ConntrackEntry {
  readonly tuple: FlowTuple;
  readonly id: number;
  readonly mark: number;
  /** TCP_CONNTRACK_* of nf_conntrack_tcp.h: 3 is established, 7 time-wait, 8 close; undefined where it was not reported. */
  readonly tcpState: number | undefined;
  /** Bytes of IP packets each way, where net.netfilter.nf_conntrack_acct is on. */
  readonly bytes: { readonly original: number; readonly reply: number } | undefined;
}

/** The state of one queue: /proc/net/netfilter/nfnetlink_queue. */
export interface QueueStatistics {
  readonly queue: number;
  readonly waiting: number;
  /** Dropped because the queue was full, and because the socket's buffer was. */
  readonly queueDropped: number;
  readonly userDropped: number;
}

export interface OpenOptions {
  /** First queue number and how many follow on, itself included. */
  readonly firstQueue: number;
  readonly queues: number;
  /** Packets that may wait in each queue; what comes on top is dropped, and not counted. */
  readonly maxWaiting: number;
  /** Bytes of packets that may wait to be read, from the first queue and from all others; what comes on top is dropped and counted. */
  readonly bufferBytes: number;
  /** Bytes of a packet that are copied: at most 65,535. */
  readonly copyBytes: number;
}

/**
 * The kernel's side of NFQUEUE mode. Orders are carried out in the order in which they were given, each wholly before the next: a mark that is
 * set after a verdict is set after that packet has left. A transport may gather the orders of one turn of the event loop.
 */
export interface PacketPath {
  /** Left out: every packet comes up. */
  readonly passing?: PacketPassing;

  /**
   * Binds the queues; packets may come from then on.
   * @throws Error whose message names the queue and the remedy: it is bound by another process, or CAP_NET_ADMIN is missing
   */
  open(options: OpenOptions): void;

  /** Decides a queued packet. For one that has its verdict already, or went with its queue, nothing happens. */
  verdict(packet: QueuedPacket, verdict: PacketVerdict, options?: VerdictOptions): void;

  /** Carries out now what was ordered so far, for who has something to do that nobody waits for. */
  flush(): void;

  /**
   * Sends a whole IP packet, checksums done, by a raw socket (IP_HDRINCL). Its source may be foreign and its destination local: that is how the own
   * kernel gets a RST. It carries the proxy's own mark and is therefore not queued. May be lost, as any packet may.
   * @param device number of the interface to send by where the destination is a link-local address (RFC 4007 section 6)
   */
  sendPacket(bytes: Uint8Array, device?: number): void;

  /** Sets the bits of `mask` in a connection's mark (CTA_MARK, CTA_MARK_MASK). A connection that is gone is left so. */
  setConnectionMark(tuple: FlowTuple, mark: number, mask: number): void;

  /** The entry of a connection. */
  findConnection(tuple: FlowTuple): Promise<ConntrackEntry | undefined>;

  /** Removes a connection's entry. @returns whether there was one */
  deleteConnection(tuple: FlowTuple): Promise<boolean>;

  /** All TCP entries with `mark` in the bits of `mask`. */
  dumpConnections(mark: number, mask: number): Promise<ConntrackEntry[]>;

  /**
   * Ends a verified connection: its local socket (SOCK_DESTROY: its application gets ECONNABORTED, the peer a RST), and its entry, while that bears our mark; an entry without may be of
   * another connection, say to the listener, and what comes by it is queued anyway. Several may be gathered until the end of the turn, or the next order.
   * @param outgoing whether this pod opened it
   * @param device number of the interface that its packets go by, where that is known: a socket may be bound to it
   */
  cutConnection(tuple: FlowTuple, outgoing: boolean, device?: number): void;

  /**
   * Marks those records of established connections (`src/nfqueue/pass-records.ts`) that are over: no socket here can still send or get bytes, and
   * conntrack has no entry of them, or a closing one. What the kernel says nothing clear about is not marked.
   */
  markEnded(records: Uint8Array): void;

  /** Whether conntrack counts bytes (net.netfilter.nf_conntrack_acct). */
  readonly countsBytes: boolean;

  /** One for each queue that is open. */
  statistics(): QueueStatistics[];

  /** Unbinds the queues. What waits is dropped. Resolves when no more events come. */
  close(): Promise<void>;
}
