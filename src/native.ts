import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { EXIT, messageOf, UserError } from './errors.ts';
import { installed } from './installation.ts';
import type { NativeLimit } from './native-limit.ts';
import type { NativeOpenssl } from './native-openssl.ts';

/** An address in its text form and a port, as the addon hands it over. */
export type RawEndpoint = readonly [address: string, port: number];

/** Handle of a running data thread. */
export interface NativeDataPath {
  readonly brand: unique symbol;
}

/** Handle of a netlink socket. */
export interface NativeNetlink {
  readonly netlink: unique symbol;
}

/** Handle of the passes of queues. */
export interface NativeQueuePasses {
  readonly queuePasses: unique symbol;
}

/** Handle of the sockets that send whole IP packets. */
export interface NativeRaw {
  readonly raw: unique symbol;
}

/** Numbers of native/data_path.h. */
export const COMMAND = {
  unlisten: 1,
  readFrame: 2,
  send: 3,
  relay: 5,
  release: 6,
  dropUpstream: 7,
  reset: 8,
  stop: 9,
} as const;

export const EVENT = {
  accepted: 0,
  frame: 1,
  notFrame: 2,
  tooLarge: 3,
  dialled: 4,
  preamble: 5,
  closed: 6,
  stopped: 7,
} as const;

/** Numbers of sides, roles, causes of an end, why there is no room, and fates of data in a SYN, in the order of native/data_path.h. */
export const SIDES = ['client', 'upstream'] as const;
export const ROLES = ['inbound', 'outbound'] as const;
export const CAUSES = ['end', 'reset', 'client-reset', 'upstream-reset'] as const;
export const REFUSALS = [undefined, 'all', 'source'] as const;
export const SYN_DATA = ['none', 'refused', 'taken'] as const;

export type NativeEvent =
  | readonly [
      type: typeof EVENT.accepted,
      id: number,
      role: number,
      peer: RawEndpoint | undefined,
      local: RawEndpoint | undefined,
      original: RawEndpoint | undefined,
      syn: Uint8Array,
      picked: RawEndpoint | undefined,
      refusal: number,
      pass?: number,
      hello?: Uint8Array,
      reply?: Uint8Array,
    ]
  | readonly [
      type: typeof EVENT.frame | typeof EVENT.notFrame,
      id: number,
      side: number,
      bytes: Uint8Array,
      endOfFile: boolean,
    ]
  | readonly [type: typeof EVENT.tooLarge, id: number, side: number, announced: number]
  | readonly [
      type: typeof EVENT.dialled,
      id: number,
      error: string | undefined,
      local: RawEndpoint | undefined,
      synRetransmits: number,
      synData: number,
      unbound: boolean,
    ]
  | readonly [type: typeof EVENT.preamble, id: number, upstreamSpoke: boolean]
  | readonly [type: typeof EVENT.closed, id: number, cause: number, bytesIn: number, bytesOut: number]
  | readonly [type: typeof EVENT.stopped, id: number];

/** `more`: other events are left, of which nothing is told until {@link NativeAddon.deliver}. */
export type OnEvents = (
  batch: readonly NativeEvent[],
  reports: Float64Array | undefined,
  more: boolean,
) => void;

/** Of native/passes.h. */
export const MOST_CANDIDATES = 1024;
export const COUNTER_STATES = ['fresh', 'seen', 'too-old'] as const;

/** What the js_*.c files of native/ export. Errors carry the system's name in `code`. */
export interface NativeAddon extends NativeLimit, NativeOpenssl {
  start(onEvents: OnEvents): NativeDataPath;
  /** Has `onEvents` called with more, in another turn of the event loop. */
  deliver(path: NativeDataPath): void;
  listen(path: NativeDataPath, address: string, port: number, role: number): [listener: number, port: number];
  dial(
    path: NativeDataPath,
    id: number,
    address: string,
    port: number,
    fastOpen: boolean,
    first: Uint8Array | undefined,
    synData: boolean,
    source: string | undefined,
    sourcePort: number,
  ): void;
  /** Throws what the kernel says to a process that may not dial from the addresses of others (ip(7), IP_TRANSPARENT). */
  tryTransparent(): void;
  command(
    path: NativeDataPath,
    type: (typeof COMMAND)[keyof typeof COMMAND],
    id: number,
    side: number,
    flag: boolean,
    maxBytes: number,
    bytes: Uint8Array | undefined,
  ): void;
  /** Lets the data thread know of the commands and dials since the last time. It may have obeyed before; `stop` needs none. */
  wake(path: NativeDataPath): void;
  progress(path: NativeDataPath, id: number): [bytesIn: number, bytesOut: number] | undefined;
  /** How often so far the system gave no pipe, or one that is too small to be of use. */
  pipesRefused(path: NativeDataPath): number;
  openSession(path: NativeDataPath): number;
  closeSession(path: NativeDataPath, session: number): void;
  /** @returns an index of {@link COUNTER_STATES} */
  useCounter(path: NativeDataPath, session: number, counter: bigint): number;
  passOutbound(
    path: NativeDataPath,
    number: number,
    lifetimeMs: number,
    sessionId: Uint8Array,
    clientKey: Uint8Array,
    serverKey: Uint8Array,
    admissionKey: Uint8Array,
    dialled: string,
    dialledPort: number,
    target: string,
    targetPort: number,
    hello: Uint8Array,
    firstCounter: number,
    counters: number,
    fastOpen: boolean,
    synData: boolean,
    ofSeveral: boolean,
    carrier: number,
    /** Of each session behind the first one: number, session id, client key, server key, first counter. */
    others: readonly (number | Uint8Array)[],
  ): boolean;
  /** @param candidates address, port, address, port and so on; at most {@link MOST_CANDIDATES} of both */
  choiceOutbound(
    path: NativeDataPath,
    lifetimeMs: number,
    dialled: string,
    dialledPort: number,
    candidates: readonly (string | number)[],
  ): boolean;
  passInbound(
    path: NativeDataPath,
    number: number,
    lifetimeMs: number,
    sessionId: Uint8Array,
    clientKey: Uint8Array,
    serverKey: Uint8Array,
    admissionKeys: Uint8Array,
    session: number,
    peer: string,
    reached: string,
    reachedPort: number,
    target: string,
    targetPort: number,
    meant: string,
    meantPort: number,
    token: Uint8Array,
    keepSource: boolean,
    carrier: number,
    /** Ids of all sessions in the Hello, one behind the other, and the place of the pass's own. */
    offered: Uint8Array,
    ownOffer: number,
  ): boolean;
  revokePasses(path: NativeDataPath): void;
  /** The reports that would be delivered soon. */
  takeReports(path: NativeDataPath): Float64Array | undefined;
  /** The addon's own MAC, for tests. `accelerated`: with the processor's instructions, where it has them. */
  mac(key: Uint8Array, context: string, bytes: Uint8Array, accelerated: boolean): Uint8Array;

  /** `groups`: multicast groups as bits. */
  netlinkOpen(protocol: number, groups: number, receiveBytes: number): NativeNetlink;
  /** The kernel has worked off all messages on return. */
  netlinkSend(netlink: NativeNetlink, messages: Uint8Array): void;
  /** One datagram, if one is there; not after {@link netlinkListen}. */
  netlinkReceive(netlink: NativeNetlink): Uint8Array | undefined;
  /** Datagrams that are there one behind the other, each filled up to four bytes, some 64 KB of them at a time; as {@link netlinkReceive} otherwise. */
  netlinkReceiveAll(netlink: NativeNetlink): Uint8Array | undefined;
  /**
   * Receives on the event loop: whole datagrams one behind the other, how often the kernel had to drop some, and why nothing will come any more. Packets
   * that `passes` foresee do not come; that there are records of them is told by no bytes at all.
   */
  netlinkListen(
    netlink: NativeNetlink,
    onReceived: (bytes: Uint8Array, lost: number, error: string | undefined) => void,
    passes: NativeQueuePasses | undefined,
  ): void;
  /** {@link netlinkListen}'s function is not called any more. */
  netlinkClose(netlink: NativeNetlink): void;

  /**
   * Lets passes of a data path decide packets of queues. The numbers are bits of packets' marks; then, for IPv4 and IPv6, an order that marks a
   * connection, and the places in it of source, destination, and their ports.
   */
  queuePassesOpen(
    path: NativeDataPath,
    mask: number,
    accepted: number,
    stream: number,
    streamMask: number,
    order4: Uint8Array,
    source4: number,
    destination4: number,
    sourcePort4: number,
    destinationPort4: number,
    order6: Uint8Array,
    source6: number,
    destination6: number,
    sourcePort6: number,
    destinationPort6: number,
  ): NativeQueuePasses;
  /** The orders for the kernel about one datagram; undefined: no pass foresees its packet. */
  queuePassesTry(passes: NativeQueuePasses, datagram: Uint8Array): Uint8Array | undefined;
  /**
   * Records of what passes did (`src/nfqueue/pass-records.ts`); what they have begun so many milliseconds ago is handed over with them, and what
   * was kept back for so many is told.
   */
  queuePassesTake(passes: NativeQueuePasses, handOverMs: number, keptBackMs: number): Uint8Array | undefined;
  /** How many established connections are kept back. */
  queuePassesKeptBack(passes: NativeQueuePasses): number;
  /** Marks those records of connections kept back that have ended. The sockets are for sock_diag and for conntrack, and not listened to. */
  queuePassesEnded(sockets: NativeNetlink, conntrack: NativeNetlink, records: Uint8Array): void;
  /** The connections of records that are marked as ended are none any more. */
  queuePassesForget(passes: NativeQueuePasses, records: Uint8Array): void;
  /** Whether this connection was kept back; it is among the records now. */
  queueReveal(passes: NativeQueuePasses, key: string): boolean;
  /** Packets that the kernel dropped since the last time. */
  queuePassesMissing(passes: NativeQueuePasses): number;
  /** TypeScript has a connection with this key and the sequence number of its SYN; `waiting`: every SYN there is its own business. */
  queueClaim(
    passes: NativeQueuePasses,
    key: string,
    initial: number,
    outgoing: boolean,
    waiting: boolean,
  ): void;
  /** Whether one connection more fits the bound; if not it is counted as refused. */
  queueAdmits(passes: NativeQueuePasses, key: string, outgoing: boolean): boolean;
  queueRelease(passes: NativeQueuePasses, key: string, initial: number): void;
  queuePassesClose(passes: NativeQueuePasses): void;
  /**
   * Limits what comes to JavaScript of packets whose connection nobody knows (`src/nfqueue/gate.ts`); the keys have 32 bytes and lie one behind the other.
   * @returns packets that were dropped since the last time
   */
  queueGate(
    passes: NativeQueuePasses,
    admissionKeys: Uint8Array,
    strangers: number,
    sourcePerSecond: number,
    sourceBurst: number,
    unadmittedPerSecond: number,
    straysPerSecond: number,
  ): number;

  /** `mark`: for every packet. */
  rawOpen(mark: number): NativeRaw;
  rawSend(raw: NativeRaw, destination: Uint8Array, interfaceIndex: number, packet: Uint8Array): void;
  rawClose(raw: NativeRaw): void;
  /** Capabilities of the main thread as bits by their numbers (capabilities(7)): in effect, and permitted. */
  capabilities(): [effective: number, permitted: number];
  /** Gives the main thread these and no others; threads of this addon that start later begin with them. There is no way back to what is not permitted. */
  setCapabilities(effective: number, permitted: number): void;
  /** From now on no core dump has this process's memory, and nobody but root with CAP_SYS_PTRACE looks into it, whoever runs as the same user (prctl(2), PR_SET_DUMPABLE). */
  hideMemory(): void;

  /** From now on large blocks of the C heap go back to the kernel when they are freed, whatever was freed before (mallopt(3)). */
  boundMallocSlack(): void;
  /** Gives free memory of the C heap back to the kernel (malloc_trim(3)). */
  trimMemory(): void;
  /** Bytes of the C heap in use: what is given out and not given back (mallinfo(3)). */
  memoryInUse(): number;
}

/** Loads the addon that `make setup` builds. The only place that does. */
export function loadAddon(): NativeAddon {
  const file = installed('native/build/countersign.node');
  if (!existsSync(file)) {
    throw new UserError(`the native addon is not built: run 'make setup' (looked for ${file})`, {
      exitCode: EXIT.failure,
    });
  }
  try {
    return createRequire(import.meta.url)(file) as NativeAddon;
  } catch (error) {
    const message = `the native addon does not load: run 'make clean setup' (${messageOf(error)})`;
    throw new UserError(message, { exitCode: EXIT.failure, cause: error });
  }
}
