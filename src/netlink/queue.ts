import { AttributeReader } from './attributes.ts';
import { FLAG, type Message } from './message.ts';
import type { MessageWriter } from './message-writer.ts';

/** `linux/netfilter/nfnetlink_queue.h`: packets that a rule with the target NFQUEUE hands to user space, and what becomes of them. */
const SUBSYSTEM = 3 << 8;
const MESSAGE = { packet: SUBSYSTEM, verdict: SUBSYSTEM | 1, config: SUBSYSTEM | 2 } as const;
const CONFIG = { command: 1, parameters: 2, maxLength: 3, mask: 4, flags: 5 } as const;
const COMMAND = { bind: 1, unbind: 2 } as const;
const FLAGS = { failOpen: 1, gso: 4 } as const;
const COPY_PACKET = 2;
const ATTRIBUTE = {
  header: 1,
  verdict: 2,
  mark: 3,
  inDevice: 5,
  outDevice: 6,
  payload: 10,
  wholeLength: 13,
  packetInfo: 14,
} as const;
const GENERIC_HEADER_BYTES = 4;

/** `linux/netfilter.h`. */
export const VERDICT = { drop: 0, accept: 1, repeat: 4 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

/** `linux/netfilter.h`: where in the kernel the packet was taken. */
export const HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

export interface QueueSettings {
  readonly queue: number;
  /** Packets that wait for a verdict; more are dropped by the kernel. */
  readonly maxLength: number;
  /** Bytes of each packet that are handed over; longer ones are cut, and {@link QueuedPacket.wholeLength} tells. */
  readonly copyBytes: number;
  /**
   * Whether the kernel may hand over segments that it has joined for the network card, and packets whose checksum it has not
   * filled in. Without, it does both before the packet is queued.
   */
  readonly gso: boolean;
}

/** One packet in a queue. */
export interface QueuedPacket {
  readonly queue: number;
  /** Names it in a verdict, until then. */
  readonly id: number;
  readonly hook: number;
  /** The packet's own mark, which rules compare; 0 is none. */
  readonly mark: number;
  /** Numbers of interfaces; 0 is none. */
  readonly inDevice: number;
  readonly outDevice: number;
  /** From the IP header on. */
  readonly bytes: Uint8Array;
  /** Of the packet as the kernel has it; more than `bytes.length` when it was cut. */
  readonly wholeLength: number;
  /** The transport checksum is not filled in: the sender is on this machine. */
  readonly checksumNotReady: boolean;
  /** Several segments that the kernel handles as one. */
  readonly joined: boolean;
}

/**
 * Takes over a queue. Nobody else may have it. The kernel's default of dropping packets when the queue is full is set once more, by its
 * name: what was bound with fail-open by another program must not stay so.
 */
export function encodeBind(writer: MessageWriter, settings: QueueSettings, sequence: number): void {
  const { queue, maxLength, copyBytes, gso } = settings;
  const flags = FLAG.request | FLAG.ack;
  writer
    .begin(MESSAGE.config, flags, sequence)
    .netfilter(0, queue)
    .bytes(CONFIG.command, Uint8Array.of(COMMAND.bind, 0, 0, 0))
    .end()
    .begin(MESSAGE.config, flags, sequence)
    .netfilter(0, queue)
    .bytes(CONFIG.parameters, Uint8Array.of(...be32(copyBytes), COPY_PACKET))
    .u32(CONFIG.maxLength, maxLength)
    .u32(CONFIG.flags, gso ? FLAGS.gso : 0)
    .u32(CONFIG.mask, FLAGS.failOpen | FLAGS.gso)
    .end();
}

/** So many answers come to {@link encodeBind}. */
export const BIND_ANSWERS = 2;

/** Gives a queue back; packets in it are dropped. */
export function encodeUnbind(writer: MessageWriter, queue: number, sequence: number): void {
  writer
    .begin(MESSAGE.config, FLAG.request | FLAG.ack, sequence)
    .netfilter(0, queue)
    .bytes(CONFIG.command, Uint8Array.of(COMMAND.unbind, 0, 0, 0))
    .end();
}

/**
 * What becomes of a packet.
 * @param mark for the packet instead of the one it has
 * @param bytes the whole packet anew, from the IP header on, with all checksums right
 */
export function encodeVerdict(
  writer: MessageWriter,
  packet: { readonly queue: number; readonly id: number },
  verdict: Verdict,
  changes: { readonly mark?: number | undefined; readonly bytes?: Uint8Array | undefined },
  sequence: number,
): void {
  writer
    .begin(MESSAGE.verdict, FLAG.request, sequence)
    .netfilter(0, packet.queue)
    .u32Pair(ATTRIBUTE.verdict, verdict, packet.id);
  if (changes.mark !== undefined) writer.u32(ATTRIBUTE.mark, changes.mark);
  if (changes.bytes !== undefined) writer.bytes(ATTRIBUTE.payload, changes.bytes);
  writer.end();
}

/** The kernel's part of {@link decodePacket}, for who stands for it. */
export function encodePacket(
  writer: MessageWriter,
  {
    queue,
    id,
    hook,
    inDevice,
    outDevice,
    bytes,
  }: Omit<QueuedPacket, 'mark' | 'wholeLength' | 'checksumNotReady' | 'joined'>,
): void {
  writer
    .begin(MESSAGE.packet, 0, 0)
    .netfilter(0, queue)
    .bytes(ATTRIBUTE.header, Uint8Array.of(...be32(id), 0, 0, hook))
    .u32(ATTRIBUTE.inDevice, inDevice)
    .u32(ATTRIBUTE.outDevice, outDevice)
    .bytes(ATTRIBUTE.payload, bytes)
    .end();
}

/** The kernel's part of {@link encodeVerdict}. @returns undefined for another order */
export function decodeVerdict(
  message: Message,
): { readonly id: number; readonly verdict: number; readonly bytes: Uint8Array | undefined } | undefined {
  if (message.type !== MESSAGE.verdict) return undefined;
  const attributes = new AttributeReader(message.bytes, message.start + GENERIC_HEADER_BYTES, message.end);
  let [verdict, id] = [0, -1];
  let bytes: Uint8Array | undefined;
  while (attributes.next()) {
    if (attributes.type === ATTRIBUTE.verdict)
      [verdict, id] = [attributes.u32() ?? 0, attributes.u32(4) ?? -1];
    if (attributes.type === ATTRIBUTE.payload) bytes = attributes.bytes();
  }
  return { id, verdict, bytes };
}

export function isPacket(message: Message): boolean {
  return message.type === MESSAGE.packet;
}

/** Reads a packet. @returns undefined when the message is not whole: without the packet's number no verdict can name it */
export function decodePacket(message: Message): QueuedPacket | undefined {
  const { bytes, start, end } = message;
  if (end - start < GENERIC_HEADER_BYTES) return undefined;
  const attributes = new AttributeReader(bytes, start + GENERIC_HEADER_BYTES, end);
  let [id, hook, mark, inDevice, outDevice, wholeLength, info] = [-1, 0, 0, 0, 0, 0, 0];
  let payload: Uint8Array | undefined;
  while (attributes.next()) {
    switch (attributes.type) {
      case ATTRIBUTE.header:
        id = attributes.u32() ?? -1;
        hook = attributes.u8(6) ?? 0;
        break;
      case ATTRIBUTE.mark:
        mark = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.inDevice:
        inDevice = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.outDevice:
        outDevice = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.wholeLength:
        wholeLength = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.packetInfo:
        info = attributes.u32() ?? 0;
        break;
      case ATTRIBUTE.payload:
        payload = attributes.bytes();
        break;
      default:
        break;
    }
  }
  if (id < 0) return undefined;
  const read = payload ?? new Uint8Array(0);
  return {
    queue: (bytes[start + 2]! << 8) | bytes[start + 3]!,
    id,
    hook,
    mark,
    inDevice,
    outDevice,
    bytes: read,
    wholeLength: Math.max(wholeLength, read.length),
    checksumNotReady: (info & 1) !== 0,
    joined: (info & 2) !== 0,
  };
}

function be32(value: number): number[] {
  return [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}
