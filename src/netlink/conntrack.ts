import { AttributeReader } from './attributes.ts';
import { FLAG, type Message } from './message.ts';
import type { MessageWriter } from './message-writer.ts';
import { AF, checkTuple, type Tuple } from './tuple.ts';

/** `linux/netfilter/nfnetlink_conntrack.h`: the kernel's table of connections. */
const SUBSYSTEM = 1 << 8;
const MESSAGE = { new: SUBSYSTEM, get: SUBSYSTEM | 1, delete: SUBSYSTEM | 2 } as const;
const ATTRIBUTE = {
  original: 1,
  reply: 2,
  status: 3,
  protocolInfo: 4,
  mark: 8,
  bytesOriginal: 9,
  bytesReply: 10,
  id: 12,
  markMask: 21,
} as const;
const TUPLE = { ip: 1, protocol: 2 } as const;
const IP = { source4: 1, destination4: 2, source6: 3, destination6: 4 } as const;
const PROTOCOL = { number: 1, sourcePort: 2, destinationPort: 3 } as const;
const PROTOCOL_INFO_TCP = 1;
const TCP = { state: 1, flagsOriginal: 4, flagsReply: 5 } as const;
const BE_LIBERAL = 8;
const COUNTER_BYTES = 2;
const GENERIC_HEADER_BYTES = 4;
const IPPROTO_TCP = 6;

/** Groups of events, for binding a socket. */
export const EVENT_GROUP = { destroyed: 3 } as const;

/** A part of a mark: the bits of `mask` have the value `value`. */
export interface MaskedMark {
  readonly value: number;
  readonly mask: number;
}

/** What the kernel knows about a TCP connection. */
export interface Connection {
  /** As its first packet named it. */
  readonly original: Tuple;
  /** As its answers name it; differs when addresses are translated. */
  readonly reply: Tuple;
  readonly mark: number;
  /** Bits of `IPS_*` in `linux/netfilter/nf_conntrack_common.h`. */
  readonly status: number;
  /** `TCP_CONNTRACK_*`: 3 is established. */
  readonly state: number;
  /** Tells two connections with the same tuple apart. */
  readonly id: number;
  /** Payload and headers in both directions, where `nf_conntrack_acct` is on. */
  readonly bytes: { readonly original: number; readonly reply: number } | undefined;
}

/**
 * Sets a part of the mark of one connection; its other bits stay. `liberal` tells the kernel not to compare this connection's sequence
 * numbers with the window that it has seen: identity messages in the handshake make it see another one than the ends have.
 */
export function encodeMark(
  writer: MessageWriter,
  tuple: Tuple,
  mark: MaskedMark,
  options: { readonly liberal: boolean; readonly acknowledge: boolean },
  sequence: number,
): void {
  checkTuple(tuple);
  writer
    .begin(MESSAGE.new, FLAG.request | (options.acknowledge ? FLAG.ack : 0), sequence)
    .netfilter(AF[tuple.family]);
  writeTuple(writer, ATTRIBUTE.original, tuple);
  writer.u32(ATTRIBUTE.mark, mark.value).u32(ATTRIBUTE.markMask, mark.mask);
  if (options.liberal) {
    const flags = Uint8Array.of(BE_LIBERAL, BE_LIBERAL);
    writer.nested(ATTRIBUTE.protocolInfo, (inner) =>
      inner.nested(PROTOCOL_INFO_TCP, (tcp) =>
        tcp.bytes(TCP.flagsOriginal, flags).bytes(TCP.flagsReply, flags),
      ),
    );
  }
  writer.end();
}

/**
 * Deletes one connection, named by the tuple of its first packet. (Without a tuple the kernel would delete all: that cannot be written here.)
 * @param id of {@link Connection.id}: one that took its place is left alone; undefined: whichever has this tuple
 */
export function encodeDelete(writer: MessageWriter, tuple: Tuple, sequence: number, id?: number): void {
  checkTuple(tuple);
  writer.begin(MESSAGE.delete, FLAG.request | FLAG.ack, sequence).netfilter(AF[tuple.family]);
  writeTuple(writer, ATTRIBUTE.original, tuple);
  if (id !== undefined) writer.u32(ATTRIBUTE.id, id);
  writer.end();
}

/** Asks for one connection. @param acknowledge whether an acknowledgement follows on the entry */
export function encodeGet(writer: MessageWriter, tuple: Tuple, sequence: number, acknowledge = true): void {
  checkTuple(tuple);
  writer
    .begin(MESSAGE.get, FLAG.request | (acknowledge ? FLAG.ack : 0), sequence)
    .netfilter(AF[tuple.family]);
  writeTuple(writer, ATTRIBUTE.original, tuple);
  writer.end();
}

/** Asks for all connections, of both families, that bear a mark. Old kernels do not filter: look at {@link Connection.mark} again. */
export function encodeDump(writer: MessageWriter, mark: MaskedMark, sequence: number): void {
  writer
    .begin(MESSAGE.get, FLAG.request | FLAG.dump, sequence)
    .netfilter(0)
    .u32(ATTRIBUTE.mark, mark.value)
    .u32(ATTRIBUTE.markMask, mark.mask)
    .end();
}

/** What an event of conntrack says happened. */
export function isConntrack(message: Message): 'present' | 'destroyed' | undefined {
  if (message.type === MESSAGE.new) return 'present';
  return message.type === MESSAGE.delete ? 'destroyed' : undefined;
}

/** What is needed of a connection that was asked for by its tuple, to delete it. @returns undefined when the message is not whole */
export function decodeEntry(message: Message): Pick<Connection, 'id' | 'mark'> | undefined {
  const { bytes, start, end } = message;
  const attributes = new AttributeReader(bytes, start + GENERIC_HEADER_BYTES, end);
  let mark = 0;
  let id: number | undefined;
  while (attributes.next()) {
    if (attributes.type === ATTRIBUTE.mark) mark = attributes.u32() ?? 0;
    else if (attributes.type === ATTRIBUTE.id) id = attributes.u32();
  }
  return id === undefined ? undefined : { id, mark };
}

/** Reads a connection. @returns undefined when it is not TCP, or the message is not whole */
export function decodeConnection(message: Message): Connection | undefined {
  const { bytes, start, end } = message;
  if (end - start < GENERIC_HEADER_BYTES) return undefined;
  const attributes = new AttributeReader(bytes, start + GENERIC_HEADER_BYTES, end);
  let original: Tuple | undefined;
  let reply: Tuple | undefined;
  let [mark, status, state, id] = [0, 0, 0, 0];
  let counted: { original: number; reply: number } | undefined;
  while (attributes.next()) {
    switch (attributes.type) {
      case ATTRIBUTE.original:
        original = readTuple(attributes.nested());
        break;
      case ATTRIBUTE.reply:
        reply = readTuple(attributes.nested());
        break;
      case ATTRIBUTE.mark:
        mark = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.status:
        status = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.id:
        id = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.protocolInfo:
        state = readState(attributes.nested());
        break;
      case ATTRIBUTE.bytesOriginal:
        counted = { original: readBytes(attributes.nested()), reply: counted?.reply ?? 0 };
        break;
      case ATTRIBUTE.bytesReply:
        counted = { original: counted?.original ?? 0, reply: readBytes(attributes.nested()) };
        break;
      default:
        break;
    }
  }
  if (original === undefined || reply === undefined) return undefined;
  return { original, reply, mark, status, state, id, bytes: counted };
}

function writeTuple(writer: MessageWriter, type: number, tuple: Tuple): void {
  const four = tuple.family === 4;
  writer.nested(type, (outer) => {
    outer.nested(TUPLE.ip, (ip) =>
      ip
        .bytes(four ? IP.source4 : IP.source6, tuple.sourceAddress)
        .bytes(four ? IP.destination4 : IP.destination6, tuple.destinationAddress),
    );
    outer.nested(TUPLE.protocol, (protocol) =>
      protocol
        .u8(PROTOCOL.number, IPPROTO_TCP)
        .u16(PROTOCOL.sourcePort, tuple.sourcePort)
        .u16(PROTOCOL.destinationPort, tuple.destinationPort),
    );
  });
}

function readTuple(tuple: AttributeReader): Tuple | undefined {
  let source: Uint8Array | undefined;
  let destination: Uint8Array | undefined;
  let [protocol, sourcePort, destinationPort] = [-1, -1, -1];
  while (tuple.next()) {
    const inner = tuple.nested();
    if (tuple.type === TUPLE.ip) {
      while (inner.next()) {
        if (inner.type === IP.source4 || inner.type === IP.source6) source = inner.bytes();
        if (inner.type === IP.destination4 || inner.type === IP.destination6) {
          destination = inner.bytes();
        }
      }
    } else if (tuple.type === TUPLE.protocol) {
      while (inner.next()) {
        if (inner.type === PROTOCOL.number) protocol = inner.u8() ?? -1;
        if (inner.type === PROTOCOL.sourcePort) sourcePort = inner.u16() ?? -1;
        if (inner.type === PROTOCOL.destinationPort) destinationPort = inner.u16() ?? -1;
      }
    }
  }
  if (source === undefined || destination === undefined || protocol !== IPPROTO_TCP) return undefined;
  if (sourcePort < 0 || destinationPort < 0 || source.length !== destination.length) return undefined;
  if (source.length !== 4 && source.length !== 16) return undefined;
  return {
    family: source.length === 4 ? 4 : 6,
    sourceAddress: source.slice(),
    sourcePort,
    destinationAddress: destination.slice(),
    destinationPort,
  };
}

function readState(info: AttributeReader): number {
  while (info.next()) {
    if (info.type !== PROTOCOL_INFO_TCP) continue;
    const tcp = info.nested();
    while (tcp.next()) if (tcp.type === TCP.state) return tcp.u8() ?? 0;
  }
  return 0;
}

function readBytes(counters: AttributeReader): number {
  while (counters.next()) if (counters.type === COUNTER_BYTES) return counters.u64() ?? 0;
  return 0;
}
