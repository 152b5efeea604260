import type { CounterWindow } from '../handshake/replay-window.ts';
import type { Carrier } from '../handshake/frame-types.ts';
import type { Endpoint } from '../lib/address.ts';
import type { NativeQueuePasses } from '../native.ts';
import type { Closed, ConnectionId, DialOptions, DialReport } from './data-path.ts';

/**
 * What a data path may offer besides: resumed handshakes that go by a pass. The brain decides in advance, about one place and one session; a
 * connection that is in every byte what a pass foresees is answered, dialled and relayed by the pump at once, and reported afterwards.
 * Everything else is accepted as if there were no passes. Every change of what a pass was decided by takes all of them back.
 *
 * `test/relay/native-resumption-inbound.test.ts` and `-outbound.test.ts` hold an implementation to it, with the machines of `src/handshake/` as oracle.
 */
export interface Resumption {
  /**
   * The counters seen on a session that this side accepts. The pump owns them, so that a counter is spent once, whoever spends it.
   */
  openWindow(): OwnedWindow;

  /** Replaces the pass for the same destination, and of several for the same target. @returns false when there are too many */
  passOutbound(pass: OutboundPass): boolean;

  /**
   * Says between whom connections to a destination are spread: one candidate is picked evenly for each, and goes by the pass with
   * {@link OutboundPass.ofSeveral} to it. Where there is none the connection is accepted with what was picked. Replaces the choice, or the
   * sole pass, for the same destination. @returns false when there are too many
   */
  choiceOutbound(choice: OutboundChoice): boolean;

  /** Replaces the pass for the same place, session and destination. @returns false when there are too many */
  passInbound(pass: InboundPass): boolean;

  /**
   * Takes all passes back. When it returns, none decides anything any more and no key of one is left; handshakes under way by one are accepted
   * like any other. What was established before is reported all the same, perhaps after this call: whoever hears of it judges it again.
   */
  revoke(): void;

  /** Reports now what was established and ended so far, instead of soon. */
  tell(): void;

  /** Lets passes of the carrier `syn` decide packets of queues. Left out: this pump has no queues. */
  openQueues?(settings: QueuePassSettings): NativeQueuePasses | undefined;
}

/** What is written about packets and connections that a pass lets through. */
export interface QueuePassSettings {
  /** Bits of packets' marks: all of ours, and in them `accepted`; packets with `stream` in `streamMask` go another way. */
  readonly marks: {
    readonly mask: number;
    readonly accepted: number;
    readonly stream: number;
    readonly streamMask: number;
  };
  /** Marks a connection as verified; of IPv4 and of IPv6. */
  readonly orders: readonly [MarkOrder, MarkOrder];
}

/** An order for the kernel about some connection, and where in it that connection stands. */
export interface MarkOrder {
  readonly bytes: Uint8Array;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** A window that belongs to the pump. */
export interface OwnedWindow extends CounterWindow {
  /** The pump's name of it. */
  readonly session: number;
  close(): void;
}

interface Pass {
  /** Left out: `stream`. A pass of the carrier `syn` is about packets of queues; who is dialled by it and how says nothing there. */
  readonly carrier?: Carrier;
  /** The brain's name for it, from 1; handed back with what is reported. */
  readonly number: number;
  /** No connection begins by it after so many milliseconds. */
  readonly lifetimeMs: number;
  readonly session: {
    readonly id: Uint8Array;
    readonly clientKey: Uint8Array;
    readonly serverKey: Uint8Array;
  };
}

/** Connections of the application to `dialled` go to `target` with this Hello. */
export interface OutboundPass extends Pass {
  /** As the application dials it. */
  readonly dialled: Endpoint;
  readonly target: Endpoint;
  /** Whether it is one of the candidates of an {@link OutboundChoice}, which alone leads to it. */
  readonly ofSeveral: boolean;
  /** As {@link DialOptions} has them. A pass whose SYN had to be sent again is over. */
  readonly fastOpen: DialOptions['fastOpen'];
  readonly synData: boolean;
  /** A whole Hello for the target that offers the session, and {@link others} behind it; nonce, counters, binders and admission are filled in. */
  readonly hello: Uint8Array;
  /** Of the carrier `syn` alone: sessions with other servers that may answer at the same address, in the order of their offers; seven at most. */
  readonly others?: readonly OtherOffer[];
  readonly admissionKey: Uint8Array;
  /** Counters that are offered by this pass alone: so many from the first one on. */
  readonly counters: { readonly first: bigint; readonly count: number };
}

/** A session behind the first one of an {@link OutboundPass}. Each Hello spends one counter of every session in it. */
export interface OtherOffer {
  /** What is reported of a connection that was answered by this session. */
  readonly number: number;
  readonly session: Pass['session'];
  /** As many counters from here on belong to the pass as it has of its own. */
  readonly first: bigint;
}

/** The servers behind one destination: the brain has said of each that it may be picked now. */
export interface OutboundChoice {
  /** No connection is spread by it after so many milliseconds. */
  readonly lifetimeMs: number;
  readonly dialled: Endpoint;
  readonly candidates: readonly Endpoint[];
}

/** Connections from `peer` to `reached` with a Hello that offers the session, for `meant`, and with this token. */
export interface InboundPass extends Pass {
  readonly window: OwnedWindow;
  readonly peer: string;
  /** Where redirection caught it. */
  readonly reached: Endpoint;
  /** The application, which is dialled before the Reply says yes. */
  readonly target: Endpoint;
  readonly meant: Endpoint;
  readonly token: Uint8Array;
  /** The ids of all that the Hello offers, in their order. Left out: the session alone. */
  readonly offered?: readonly Uint8Array[];
  /** The target is dialled from the client's address, as by {@link DialOptions.source}. */
  readonly keepSource: boolean;
  readonly admissionKeys: readonly Uint8Array[];
}

/** A connection that a pass has established, told soon afterwards and once; what is told holds until the call returns. */
export interface ByPass {
  readonly id: ConnectionId;
  readonly pass: number;
  readonly peer: Endpoint;
  /** When it was accepted, as `performance.now()` counts. */
  readonly startedAt: number;
  readonly handshakeMs: number;
  /** Of an outbound one: what became of the SYN. */
  readonly dial: DialReport;
  /** Set when it is over already; else `closed` follows, as for any other. */
  readonly ending: (Closed & { readonly durationMs: number }) | undefined;
}

/** What a pass had used up of a connection that went otherwise than foreseen, so that the brain goes on from there. */
export type Begun =
  /** This Hello was sent to the pass's target, and answered by this frame. The upstream side is still connected. */
  | { readonly pass: number; readonly hello: Uint8Array; readonly reply: Uint8Array }
  /** This Hello was received, and the counter in it is spent. */
  | { readonly pass: number; readonly hello: Uint8Array; readonly reply: undefined };
