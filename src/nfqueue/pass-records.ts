import { LITTLE_ENDIAN } from '../netlink/byte-order.ts';
import { tupleKey } from './flow-key.ts';
import type { FlowTuple } from './packet-path.ts';

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
  end: 96,
} as const;

/** Reads the records of the addon, one behind the other. Frames are views of `bytes`. */
export function readPassRecords(bytes: Uint8Array): PassRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records: PassRecord[] = [];
  for (let at = 0; at < bytes.length; at += view.getUint32(at + AT.total, LITTLE_ENDIAN)) {
    records.push(readRecord(bytes, view, at));
  }
  return records;
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
