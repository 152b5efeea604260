import type { Endpoint } from '../lib/address.ts';
import type { ConnectionLimit, HeldConnections } from './connection-limit.ts';
import type { Begun, ByPass, Resumption } from './resumption.ts';

/**
 * The seam between the brain (TypeScript, decides) and the pump (native thread, moves bytes). The brain never touches an
 * application byte; the pump never interprets a preamble beyond its fixed header.
 *
 * A connection has two sides: `client`, the accepted one, and `upstream`, the one dialled for it. Both die together. Every
 * accepted connection starts silent: nothing is read and nothing is dialled until the brain says so. Calls on an id that
 * is gone are ignored, since its `closed` event may be on the way; after `closed` nothing more is reported of an id.
 *
 * `test/support/data-path-compliance.ts` is the contract in executable form.
 */
export interface DataPath {
  /** Where the pump can answer resumed handshakes itself. */
  readonly resumption?: Resumption;

  /** Starts to accept. Rejects with an error that names address and port when they cannot be had. */
  listen(options: ListenOptions): Promise<Listener>;

  /**
   * Reads exactly one preamble frame from a side: {@link FrameFormat} says where its length stands. Reports `frame`; or
   * `notFrame` at the first byte that differs from the magic; or `frameTooLarge` from the header alone. Bytes behind the frame
   * stay unread, and so do those that `notFrame` shows. When the side ends or is reset in the middle of a frame, `notFrame` with
   * what there was; an upstream side that was reset leaves the connection alive, so that it can be dialled again.
   */
  readFrame(id: ConnectionId, side: Side, maxBytes: number): void;

  /** Sends bytes of the brain's own (preamble frames) on a side, before the relay starts. The bytes are copied. */
  send(id: ConnectionId, side: Side, bytes: Uint8Array): void;

  /**
   * Dials the upstream side. Reports `dialled`. A second dial, before the relay, drops the first upstream without a trace to the
   * client: the redial of a handshake that was not understood.
   */
  dial(id: ConnectionId, target: Endpoint, options: DialOptions): void;

  /**
   * Pumps both ways until both ends are finished, half-close and resets included. With
   * `guard`, the client's first bytes are held as long as they could still become the magic: if they do, `preamble` is reported
   * and nothing of them is forwarded; if not, they are forwarded and the guard is over.
   *
   * With `verdictFrame` (the most bytes it may have), the upstream side's next bytes are one more preamble frame, reported as by
   * {@link readFrame}; what follows it is held until {@link release}. The client's bytes go to the upstream side meanwhile: that is
   * what keeps a full handshake at one added round trip.
   */
  relay(id: ConnectionId, options: RelayOptions): void;

  /** Lets a relay with `verdictFrame` pump towards the client. */
  release(id: ConnectionId): void;

  /** Drops the upstream side alone, so that a handshake can start on a guarded connection: the answer to `preamble`. */
  dropUpstream(id: ConnectionId): void;

  /** Ends the connection with a reset on both sides. What was sent just before (a refusal) is delivered first, the reset after it. */
  reset(id: ConnectionId): void;

  /** Bytes relayed so far; undefined when the id is gone. */
  progress(id: ConnectionId): { bytesIn: number; bytesOut: number } | undefined;

  /** How often so far the system gave no pipe to splice by, so that bulk is copied. Left out: it never asks for one. */
  readonly pipesRefused?: number;

  /** Bounds how many connections there are. Left out: there is no bound. */
  readonly limit?: ConnectionLimit;

  /** Resets what is left, closes the listeners and ends the thread. */
  close(): Promise<void>;
}

/** Names a connection of one data path. Never used again for another one. */
export type ConnectionId = number;

export type Side = 'client' | 'upstream';

export interface ListenOptions {
  /** Handed back with each connection that this listener accepts. */
  readonly role: 'inbound' | 'outbound';
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
}

export interface Listener {
  readonly endpoint: Endpoint;
  /** Stops accepting; accepted connections live on. */
  close(): void;
}

export interface DialOptions {
  /** Marks the SYN with the Fast Open option, the hint that a preamble follows (design: inbound reads the SYN). */
  readonly fastOpen: boolean;
  /** Sent at once: in the SYN where Fast Open allows, else when connected. */
  readonly first?: Uint8Array;
  /** false: `first` waits until the connection is there, for a path that eats SYNs with data. The mark stays. */
  readonly synData?: boolean;
  /**
   * Dials from this address, which need not be this host's (ip(7), IP_TRANSPARENT), and from its port where that is free, else from another one.
   * Rules and routes have to lead the answers back. Where it cannot be had the dial fails, and is reported as `unbound`.
   */
  readonly source?: Endpoint;
}

/** What the kernel says of a SYN after the connection is there (tcp(7), TCP_INFO). */
export interface DialReport {
  /** How often the SYN was sent again. The kernel does that without data and without the Fast Open option. */
  readonly synRetransmits: number;
  /** `taken`: the server acknowledged data in the SYN. `refused`: it did not. `none`: there was none, as long as there is no cookie. */
  readonly synData: 'none' | 'refused' | 'taken';
  /** The source that was asked for could not be taken: nothing was sent. */
  readonly unbound?: true;
}

export interface RelayOptions {
  readonly guard: boolean;
  readonly verdictFrame?: number;
}

export interface Accepted {
  readonly role: 'inbound' | 'outbound';
  readonly peer: Endpoint;
  /** The address that the connection reached: the listener's own, after redirection. */
  readonly local: Endpoint;
  /** SO_ORIGINAL_DST; undefined when conntrack has no entry, so that the connection was not redirected. */
  readonly original: Endpoint | undefined;
  /**
   * The client's SYN as TCP_SAVED_SYN gives it (network header first). Empty under SYN cookies, and where the kernel saved none: a
   * hint that may be missing, never a proof.
   */
  readonly syn: Uint8Array;
  /** The server that was picked for it by an {@link Resumption.choiceOutbound | choice}. */
  readonly picked?: Endpoint;
  /** There are as many as there may be: nothing may be done with it but to end it. */
  readonly beyondLimit?: keyof HeldConnections['refused'];
  /** Set when a pass had begun it. */
  readonly begun?: Begun;
}

export interface Closed {
  /** Bytes from the client towards the upstream side, and the other way; preambles do not count. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** `end`: both directions finished. `reset`: by the brain. The others: who broke it. */
  readonly cause: 'end' | 'reset' | 'client-reset' | 'upstream-reset';
}

/** What the pump reports. All calls come on the main thread, in order per connection. */
export interface DataPathEvents {
  accepted(id: ConnectionId, accepted: Accepted): void;
  /** Only of connections that went by a pass, instead of all the others. */
  byPass?(connection: ByPass): void;
  frame(id: ConnectionId, side: Side, frame: Uint8Array): void;
  notFrame(id: ConnectionId, side: Side, bytes: Uint8Array, endOfFile: boolean): void;
  frameTooLarge(id: ConnectionId, side: Side, announced: number): void;
  /** `error` is the system's name of it (ECONNREFUSED); undefined when connected. */
  dialled(
    id: ConnectionId,
    error: string | undefined,
    local: Endpoint | undefined,
    report?: DialReport,
  ): void;
  preamble(id: ConnectionId, upstreamSpoke: boolean): void;
  closed(id: ConnectionId, closed: Closed): void;
}

export { FrameFormat } from '../handshake/format.ts';
