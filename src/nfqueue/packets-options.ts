import { read16, type TcpPacket } from './packets.ts';

const END = 0;
const NO_OPERATION = 1;
const MAXIMUM_SEGMENT_SIZE = 2;
const WINDOW_SCALE = 3;
/** RFC 7323 section 2.3: larger ones are read as this one. */
const MOST_SHIFT = 14;
const FAST_OPEN = 34;
const EXPERIMENTAL = 254;
/** RFC 6994 experiment id of Fast Open. */
const FAST_OPEN_EXPERIMENT = 0xf989;
/** What a side may be sent that announced nothing (RFC 9293 section 3.7.1). */
const DEFAULT_MSS = { 4: 536, 6: 1220 } as const;

/** What this mode reads of a SYN's options. */
export interface SynOptions {
  /** The largest segment that the sender wants to get: payload and options beyond the bare TCP header. */
  readonly maximumSegment: number;
  /** By how many bits the sender shifts its windows, if the other side does so, too (RFC 7323 section 2). */
  readonly windowShift: number | undefined;
  /** Places of Fast Open options, of either kind, from the packet's beginning. */
  readonly fastOpen: readonly { readonly at: number; readonly length: number }[];
}

/** Reads the options of a SYN (RFC 9293 section 3.2); undefined when they are malformed. */
export function readSynOptions({ bytes, family, tcpAt, payloadAt }: TcpPacket): SynOptions | undefined {
  let maximumSegment: number = DEFAULT_MSS[family];
  let windowShift: number | undefined;
  const fastOpen: { at: number; length: number }[] = [];
  for (let at = tcpAt + 20; at < payloadAt;) {
    const kind = bytes[at]!;
    if (kind === END) break;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    const length = at + 1 < payloadAt ? bytes[at + 1]! : 0;
    if (length < 2 || at + length > payloadAt) return undefined;
    if (kind === MAXIMUM_SEGMENT_SIZE) {
      if (length !== 4) return undefined;
      maximumSegment = read16(bytes, at + 2);
    } else if (kind === WINDOW_SCALE) {
      if (length !== 3) return undefined;
      windowShift = Math.min(MOST_SHIFT, bytes[at + 2]!);
    } else if (isFastOpen(bytes, at, kind, length)) {
      fastOpen.push({ at, length });
    }
    at += length;
  }
  return { maximumSegment, windowShift, fastOpen };
}

function isFastOpen(bytes: Uint8Array, at: number, kind: number, length: number): boolean {
  if (kind === FAST_OPEN) return true;
  return kind === EXPERIMENTAL && length >= 4 && read16(bytes, at + 2) === FAST_OPEN_EXPERIMENT;
}

/**
 * What a window that was announced with a SYN or SYN-ACK reads in a later packet: there it is shifted where both sides shift, and with a SYN
 * never (RFC 7323 section 2.2).
 */
export function windowAfter(announced: number, own: WindowShift, other: WindowShift): number {
  return own.windowShift === undefined || other.windowShift === undefined
    ? announced
    : announced >>> own.windowShift;
}

type WindowShift = Pick<SynOptions, 'windowShift'>;

/** Blanks Fast Open options in a packet's own bytes with no-operations: the header keeps its length. */
export function blankFastOpen(bytes: Uint8Array, options: SynOptions): void {
  for (const { at, length } of options.fastOpen) bytes.fill(NO_OPERATION, at, at + length);
}

/** How much payload fits beside a SYN's own options. */
export function roomOf(packet: TcpPacket, { maximumSegment }: SynOptions): number {
  return Math.max(0, maximumSegment - (packet.payloadAt - packet.tcpAt - 20));
}
