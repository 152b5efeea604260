import { LITTLE_ENDIAN } from './byte-order.ts';
import { FLAG, type Message } from './message.ts';
import type { MessageWriter } from './message-writer.ts';
import { AF, checkTuple, type Tuple } from './tuple.ts';

/** `linux/sock_diag.h`. */
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
const REQUEST_BYTES = 56;
const COOKIE_BYTES = 8;
const ALL_STATES = 0xffff_ffff;
/** `inet_diag_msg`: family, state, timer, retransmissions, and then the socket's name, as in the request: ports, addresses, interface, cookie. */
const STATE_AT = 1;
const TOLD_NAME_AT = 4;
const ASKED_NAME_AT = 8;
const DESTINATION_PORT = 2;
const SOURCE_ADDRESS = 4;
const DESTINATION_ADDRESS = 20;
const COOKIE_AT = 40;
const INTERFACE_AT = 36;
const MESSAGE_BYTES = 52;
const ADDRESS_BYTES = 16;
/** What an IPv4 address has before it where a socket listened on IPv6 (RFC 4291 section 2.5.5.2). */
const MAPPED_BYTES = 12;
/** `net/tcp_states.h`. */
const LISTEN = 10;
/** Written into anew for each: a change of policy ends a hundred thousand. */
const request = new Uint8Array(REQUEST_BYTES);
const requestView = new DataView(request.buffer);
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
  const { bytes, start, end, type } = message;
  if (type !== SOCK_DIAG_BY_FAMILY || end - start < MESSAGE_BYTES || bytes[start + STATE_AT] === LISTEN)
    return undefined;
  const at = start + TOLD_NAME_AT;
  if (!isNamed(bytes, at, sending, false) && !(sending.family === 4 && isNamed(bytes, at, sending, true)))
    return undefined;
  return bytes.slice(at + COOKIE_AT, at + COOKIE_AT + COOKIE_BYTES);
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
  request.fill(0);
  request[0] = AF[sending.family];
  request[1] = IPPROTO_TCP;
  requestView.setUint32(4, ALL_STATES, LITTLE_ENDIAN);
  requestView.setUint16(ASKED_NAME_AT, sending.sourcePort);
  requestView.setUint16(ASKED_NAME_AT + DESTINATION_PORT, sending.destinationPort);
  request.set(sending.sourceAddress, ASKED_NAME_AT + SOURCE_ADDRESS);
  request.set(sending.destinationAddress, ASKED_NAME_AT + DESTINATION_ADDRESS);
  requestView.setUint32(ASKED_NAME_AT + INTERFACE_AT, device, LITTLE_ENDIAN);
  request.set(cookie, ASKED_NAME_AT + COOKIE_AT);
  writer
    .begin(type, FLAG.request | (acknowledge ? FLAG.ack : 0), sequence)
    .raw(request)
    .end();
}

/** @param mapped as a socket that listened on IPv6 calls an IPv4 connection */
function isNamed(bytes: Uint8Array, at: number, sending: Tuple, mapped: boolean): boolean {
  return (
    isPort(bytes, at, sending.sourcePort) &&
    isPort(bytes, at + DESTINATION_PORT, sending.destinationPort) &&
    isAddress(bytes, at + SOURCE_ADDRESS, sending.sourceAddress, mapped) &&
    isAddress(bytes, at + DESTINATION_ADDRESS, sending.destinationAddress, mapped)
  );
}

function isPort(bytes: Uint8Array, at: number, port: number): boolean {
  return bytes[at] === port >>> 8 && bytes[at + 1] === (port & 0xff);
}

/** All sixteen bytes: an IPv4 address stands in the first four, or mapped in the last. */
function isAddress(bytes: Uint8Array, at: number, address: Uint8Array, mapped: boolean): boolean {
  const from = mapped ? MAPPED_BYTES : 0;
  for (let index = 0; index < ADDRESS_BYTES; index++) {
    const inside = index - from;
    const isOwn = inside >= 0 && inside < address.length;
    const beside = mapped && index >= MAPPED_BYTES - 2 ? 0xff : 0;
    if (bytes[at + index] !== (isOwn ? address[inside] : beside)) return false;
  }
  return true;
}
