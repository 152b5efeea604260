import { LITTLE_ENDIAN } from '../netlink/byte-order.ts';
import { addressText } from './flow-endpoints.ts';
import { tupleKey } from './flow-key.ts';
import type { FlowTuple } from './packet-path.ts';

/** A connection that was over before anything was told of it. Holds until the next one is read. */
export interface EndedPass {
  readonly pass: number;
  /** Who opened it. */
  readonly address: string;
  readonly port: number;
  /** Microseconds, CLOCK_MONOTONIC, and how long its handshake took. */
  readonly since: number;
  readonly tookUs: number;
  /** Bytes of IP packets each way, where conntrack counts them. */
  readonly bytesOriginal: number;
  readonly bytesReply: number;
}

/** What became of a connection that a pass has begun. */
export interface PassRecord {
  readonly pass: number;
  /** This pod opened it. */
  readonly outgoing: boolean;
  /** Its SYN-ACK has gone on, too, and it is the kernel's. Else its handshake is under way and goes on above. */
  readonly established: boolean;
  /** From client to server. */
  readonly tuple: FlowTuple;
  /** As `src/nfqueue/flow-key.ts` writes it. */
  readonly key: string;
  /** Microseconds, CLOCK_MONOTONIC, and how long it took. */
  readonly since: number;
  readonly tookUs: number;
  /** Sequence numbers of SYN and SYN-ACK; the second one of an established connection alone. */
  readonly initial: number;
  readonly answerInitial: number;
  readonly device: number;
  /** What the SYN says of windows and segments. */
  readonly window: number;
  readonly windowShift: number;
  readonly maximumSegment: number;
  /** Empty for an established connection that this pod opened. */
  readonly hello: Uint8Array;
  /** Empty for connections that this pod opened. */
  readonly reply: Uint8Array;
}

/** Places in `struct pass_record` of native/queue_flows.h. */
const AT = {
  total: 0,
  family: 4,
  calling: 5,
  established: 6,
  windowShift: 7,
  pass: 8,
  since: 16,
  took: 24,
  own: 32,
  other: 48,
  ownPort: 64,
  otherPort: 66,
  initial: 68,
  answerInitial: 72,
  device: 76,
  window: 80,
  maximumSegment: 82,
  helloLength: 84,
  replyLength: 86,
  keptBack: 88,
  ended: 89,
  counted: 90,
  bytesOriginal: 96,
  bytesReply: 104,
  end: 112,
} as const;

/**
 * Reads the records of the addon, one behind the other. Frames are views of `bytes`.
 * @param onEnded hears of those that are marked as ended, which are not among what is returned
 */
export function readPassRecords(bytes: Uint8Array, onEnded: (one: EndedPass) => void): PassRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: PassRecord[] = [];
  const ended = new EndedReader(bytes, view);
  for (let at = 0; at < bytes.length; at += view.getUint32(at + AT.total, LITTLE_ENDIAN)) {
    if (bytes[at + AT.ended] === 1) onEnded(ended.read(at));
    else records.push(readRecord(bytes, view, at));
  }
  return records;
}

/** Marks the records of connections that were kept back and, by `ended`, are over: what the addon does with the kernel's answers. */
export function markRecords(bytes: Uint8Array, ended: (record: PassRecord) => boolean): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; at += view.getUint32(at + AT.total, LITTLE_ENDIAN)) {
    if (bytes[at + AT.keptBack] !== 1 || bytes[at + AT.ended] === 1) continue;
    if (ended(readRecord(bytes, view, at))) bytes[at + AT.ended] = 1;
  }
}

/**
 * Records of connections that are known to be established, for {@link markRecords} or the kernel to mark; of the same length each.
 * @param counted whether the bytes of those that live are wanted, too
 */
export function recordsOf(
  connections: readonly {
    readonly tuple: FlowTuple;
    readonly outgoing: boolean;
    readonly device?: number;
  }[],
  counted: boolean,
): Uint8Array {
  const bytes = new Uint8Array(connections.length * AT.end);
  const view = new DataView(bytes.buffer);
  for (const [index, { tuple, outgoing, device = 0 }] of connections.entries()) {
    const at = index * AT.end;
    const { family, sourceAddress, sourcePort, destinationAddress, destinationPort } = tuple;
    view.setUint32(at + AT.total, AT.end, LITTLE_ENDIAN);
    bytes[at + AT.family] = family;
    bytes[at + AT.calling] = Number(outgoing);
    bytes[at + AT.established] = bytes[at + AT.keptBack] = 1;
    bytes[at + AT.counted] = Number(counted);
    bytes.set(outgoing ? sourceAddress : destinationAddress, at + AT.own);
    bytes.set(outgoing ? destinationAddress : sourceAddress, at + AT.other);
    view.setUint32(at + AT.device, device, LITTLE_ENDIAN);
    view.setUint16(at + AT.ownPort, outgoing ? sourcePort : destinationPort, LITTLE_ENDIAN);
    view.setUint16(at + AT.otherPort, outgoing ? destinationPort : sourcePort, LITTLE_ENDIAN);
  }
  return bytes;
}

/** What was found out about one of {@link recordsOf}: whether it has ended, and the bytes each way as far as they are known; else 0. */
export function foundOf(
  bytes: Uint8Array,
  index: number,
): { readonly ended: boolean; readonly original: number; readonly reply: number } {
  const at = index * AT.end;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    ended: bytes[at + AT.ended] === 1,
    original: view.getFloat64(at + AT.bytesOriginal, LITTLE_ENDIAN),
    reply: view.getFloat64(at + AT.bytesReply, LITTLE_ENDIAN),
  };
}

/** There are thousands a second: they share one object, and the text of their address as long as it is the same. */
class EndedReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #read = {
    pass: 0,
    address: '',
    port: 0,
    since: 0,
    tookUs: 0,
    bytesOriginal: 0,
    bytesReply: 0,
  };
  /** Of the address that was read last. */
  #addressAt = 0;
  #addressLength = 0;

  constructor(bytes: Uint8Array, view: DataView) {
    this.#bytes = bytes;
    this.#view = view;
  }

  read(at: number): EndedPass {
    const bytes = this.#bytes;
    const f64 = (field: number): number => this.#view.getFloat64(at + field, LITTLE_ENDIAN);
    const outgoing = bytes[at + AT.calling] === 1;
    const read = this.#read;
    read.pass = f64(AT.pass);
    read.port = this.#view.getUint16(at + (outgoing ? AT.ownPort : AT.otherPort), LITTLE_ENDIAN);
    read.since = f64(AT.since);
    read.tookUs = f64(AT.took);
    read.bytesOriginal = f64(AT.bytesOriginal);
    read.bytesReply = f64(AT.bytesReply);
    const addressAt = at + (outgoing ? AT.own : AT.other);
    const length = bytes[at + AT.family] === 4 ? 4 : 16;
    if (!this.#isSame(addressAt, length)) {
      read.address = addressText(bytes.subarray(addressAt, addressAt + length));
    }
    [this.#addressAt, this.#addressLength] = [addressAt, length];
    return read;
  }

  #isSame(at: number, length: number): boolean {
    if (this.#addressLength !== length) return false;
    for (let index = 0; index < length; index++) {
      if (this.#bytes[at + index] !== this.#bytes[this.#addressAt + index]) return false;
    }
    return true;
  }
}

function readRecord(bytes: Uint8Array, view: DataView, at: number): PassRecord {
  const u32 = (field: number): number => view.getUint32(at + field, LITTLE_ENDIAN);
  const u16 = (field: number): number => view.getUint16(at + field, LITTLE_ENDIAN);
  const family = bytes[at + AT.family] === 4 ? 4 : 6;
  const length = family === 4 ? 4 : 16;
  const own = bytes.slice(at + AT.own, at + AT.own + length);
  const other = bytes.slice(at + AT.other, at + AT.other + length);
  const [ownPort, otherPort] = [u16(AT.ownPort), u16(AT.otherPort)];
  const outgoing = bytes[at + AT.calling] === 1;
  const tuple: FlowTuple = outgoing
    ? {
        family,
        sourceAddress: own,
        sourcePort: ownPort,
        destinationAddress: other,
        destinationPort: otherPort,
      }
    : {
        family,
        sourceAddress: other,
        sourcePort: otherPort,
        destinationAddress: own,
        destinationPort: ownPort,
      };
  const helloEnd = at + AT.end + u16(AT.helloLength);
  return {
    pass: view.getFloat64(at + AT.pass, LITTLE_ENDIAN),
    outgoing,
    established: bytes[at + AT.established] === 1,
    tuple,
    key: tupleKey(tuple, outgoing),
    since: view.getFloat64(at + AT.since, LITTLE_ENDIAN),
    tookUs: view.getFloat64(at + AT.took, LITTLE_ENDIAN),
    initial: u32(AT.initial),
    answerInitial: u32(AT.answerInitial),
    device: u32(AT.device),
    window: u16(AT.window),
    windowShift: bytes[at + AT.windowShift]!,
    maximumSegment: u16(AT.maximumSegment),
    hello: bytes.subarray(at + AT.end, helloEnd),
    reply: bytes.subarray(helloEnd, helloEnd + u16(AT.replyLength)),
  };
}
