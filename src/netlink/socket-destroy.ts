import { LITTLE_ENDIAN } from './byte-order.ts';
import { FLAG, type Message } from './message.ts';
import type { MessageWriter } from './message-writer.ts';
import { AF, checkTuple, type Tuple } from './tuple.ts';

/** `linux/sock_diag.h`. */
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
const REQUEST_BYTES = 56;
const INTERFACE_AT = 44;
const COOKIE_AT = 48;
const COOKIE_BYTES = 8;
const ALL_STATES = 0xffff_ffff;
/** `inet_diag_msg`: family, state, timer, retransmissions, and then the socket's name, as in the request. */
const NAME_AT = 4;
const MESSAGE_BYTES = 52;
const ADDRESSES_BYTES = 36;
/** `net/tcp_states.h`. */
const LISTEN = 10;
const ANY_COOKIE = new Uint8Array(COOKIE_BYTES).fill(0xff);

/**
 * Asks for the socket of a connection. The kernel answers with the **listener** where the connection has none of its own, so that what
 * {@link decodeConnectedSocket} says has to be asked before anything is ended.
 * @param device number of the interface that its packets go by: a socket that is bound to it (SO_BINDTODEVICE) is found by its number alone
 * @param acknowledge whether an acknowledgement follows on the socket
 */
export function encodeSocketFind(
  writer: MessageWriter,
  sending: Tuple,
  device: number,
  sequence: number,
  acknowledge = true,
): void {
  encode(writer, SOCK_DIAG_BY_FAMILY, sending, device, ANY_COOKIE, sequence, acknowledge);
}

/**
 * The cookie of a connection's own socket: it names this socket and no later one.
 * @returns undefined for a listener, and for a socket of another connection
 */
export function decodeConnectedSocket(message: Message, sending: Tuple): Uint8Array | undefined {
  const bytes = message.bytes.subarray(message.start, message.end);
  if (message.type !== SOCK_DIAG_BY_FAMILY || bytes.length < MESSAGE_BYTES || bytes[1] === LISTEN)
    return undefined;
  const told = bytes.subarray(NAME_AT, NAME_AT + ADDRESSES_BYTES);
  const names = sending.family === 4 ? [nameOf(sending), nameOf(mapped(sending))] : [nameOf(sending)];
  const isSame = (name: Uint8Array): boolean => told.every((byte, index) => name[index] === byte);
  if (!names.some(isSame)) return undefined;
  const at = NAME_AT + COOKIE_AT - 8;
  return bytes.slice(at, at + COOKIE_BYTES);
}

/**
 * Ends a socket of this network namespace at once: its program gets ECONNABORTED, its peer a reset. `sending` is what the socket sends.
 * The kernel answers ENOENT when there is none, and EOPNOTSUPP without CONFIG_INET_DIAG_DESTROY.
 * @param device as for {@link encodeSocketFind}
 * @param cookie of {@link decodeConnectedSocket}: a socket that took its place is left alone
 */
export function encodeSocketDestroy(
  writer: MessageWriter,
  sending: Tuple,
  device: number,
  cookie: Uint8Array,
  sequence: number,
): void {
  encode(writer, SOCK_DESTROY, sending, device, cookie, sequence, true);
}

function encode(
  writer: MessageWriter,
  type: number,
  sending: Tuple,
  device: number,
  cookie: Uint8Array,
  sequence: number,
  acknowledge: boolean,
): void {
  checkTuple(sending);
  const request = new Uint8Array(REQUEST_BYTES);
  const view = new DataView(request.buffer);
  view.setUint8(0, AF[sending.family]);
  view.setUint8(1, IPPROTO_TCP);
  view.setUint32(4, ALL_STATES, LITTLE_ENDIAN);
  request.set(nameOf(sending), 8);
  view.setUint32(INTERFACE_AT, device, LITTLE_ENDIAN);
  request.set(cookie, COOKIE_AT);
  writer
    .begin(type, FLAG.request | (acknowledge ? FLAG.ack : 0), sequence)
    .raw(request)
    .end();
}

/** What a socket that listened on IPv6 calls an IPv4 connection (RFC 4291 section 2.5.5.2). */
function mapped(tuple: Tuple): Tuple {
  const map = (address: Uint8Array): Uint8Array =>
    Uint8Array.of(...new Uint8Array(10), 0xff, 0xff, ...address);
  return {
    ...tuple,
    family: 6,
    sourceAddress: map(tuple.sourceAddress),
    destinationAddress: map(tuple.destinationAddress),
  };
}

/** Ports and addresses of a socket's name. */
function nameOf(sending: Tuple): Uint8Array {
  const name = new Uint8Array(ADDRESSES_BYTES + 4);
  const view = new DataView(name.buffer);
  view.setUint16(0, sending.sourcePort);
  view.setUint16(2, sending.destinationPort);
  name.set(sending.sourceAddress, 4);
  name.set(sending.destinationAddress, 20);
  return name;
}
