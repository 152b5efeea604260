import { setImmediate as nextTurn } from 'node:timers/promises';
import type { NativeAddon, NativeNetlink } from '../native.ts';
import { decodeMessages, type Message } from './message.ts';
import { MessageWriter } from './message-writer.ts';

/** `linux/netlink.h`. */
export const PROTOCOL = { socketDiagnosis: 4, netfilter: 12 } as const;

const RECEIVE_BYTES = 1024 * 1024;
/** Beginnings again after the table has changed under a dump. */
const MOST_ATTEMPTS = 5;

/** The errno of an answer by which the kernel says that it has not what was asked for. */
export const ENOENT = 2;

/** The functions of the addon that are called here. */
export type QueryAddon = Pick<
  NativeAddon,
  'netlinkOpen' | 'netlinkSend' | 'netlinkReceive' | 'netlinkReceiveAll' | 'netlinkClose'
>;

/** Writes one request. */
export type Request = (writer: MessageWriter, sequence: number) => void;

/**
 * Asks the kernel one thing after the other, on a socket of its own. The kernel answers while it takes the request, so that nothing has to be
 * waited for.
 */
export class QuerySocket {
  readonly #addon: QueryAddon;
  readonly #socket: NativeNetlink;
  readonly #writer = new MessageWriter();
  #sequence = 0;

  /** @throws Error with a `code`: EPERM, EPROTONOSUPPORT where the kernel has no such part */
  constructor(addon: QueryAddon, protocol: number) {
    this.#addon = addon;
    this.#socket = addon.netlinkOpen(protocol, 0, RECEIVE_BYTES);
  }

  /** Sends one request that asks for an acknowledgement. @returns the errno of the answer, 0 when it was done */
  request(write: Request): number {
    return this.#exchange(write, () => {});
  }

  /** The message with which one request is answered, if it is. @throws Error for any errno but {@link ENOENT} */
  find(write: Request): Message | undefined {
    const found: Message[] = [];
    const errno = this.#exchange(write, (message) => found.push(message));
    if (errno !== 0 && errno !== ENOENT) throw failure(errno);
    return found[0];
  }

  /**
   * Sends one request for each of `things` in one call, and gives what the kernel says to each, in their order: a message, or an errno. It answers while it takes the requests, so that
   * what is not there afterwards does not come: 0, and no message.
   */
  ask<T>(
    things: readonly T[],
    write: (thing: T, writer: MessageWriter, sequence: number) => void,
  ): { readonly message: Message | undefined; readonly errno: number }[] {
    const answers = things.map((): { message: Message | undefined; errno: number } => ({
      message: undefined,
      errno: 0,
    }));
    if (things.length === 0) return answers;
    // Those of one call follow on each other.
    if (this.#sequence + things.length > 0xffff_ffff) this.#sequence = 0;
    const from = this.#sequence + 1;
    for (const thing of things) write(thing, this.#writer, ++this.#sequence);
    this.#addon.netlinkSend(this.#socket, this.#writer.take());
    for (;;) {
      const datagrams = this.#addon.netlinkReceiveAll(this.#socket);
      if (datagrams === undefined) return answers;
      for (const one of decodeMessages(datagrams).received) {
        const answer = answers[one.sequence - from];
        if (answer === undefined) continue;
        if (one.kind === 'message') answer.message = one;
        else answer.errno = one.errno;
      }
    }
  }

  /** For questions that the addon asks: none is under way between two calls of this class. */
  get socket(): NativeNetlink {
    return this.#socket;
  }

  close(): void {
    this.#addon.netlinkClose(this.#socket);
  }

  #exchange(write: Request, onMessage: (message: Message) => unknown): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    write(this.#writer, this.#sequence);
    this.#addon.netlinkSend(this.#socket, this.#writer.take());
    for (;;) {
      const datagram = this.#addon.netlinkReceive(this.#socket);
      if (datagram === undefined) throw new Error('the kernel has not answered');
      for (const one of decodeMessages(datagram).received) {
        if (one.sequence !== this.#sequence) continue;
        if (one.kind === 'message') onMessage(one);
        else return one.errno;
      }
    }
  }
}

/**
 * All messages of a dump, as `decode` reads them. Between its pieces other work goes on; a dump under which the table has changed is made again.
 * @throws Error for any errno
 */
export async function dumpAll<T>(
  addon: QueryAddon,
  protocol: number,
  write: Request,
  decode: (message: Message) => T | undefined,
): Promise<T[]> {
  for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt++) {
    const socket = addon.netlinkOpen(protocol, 0, RECEIVE_BYTES);
    try {
      const all = await dumpOnce(addon, socket, write, decode);
      if (all !== undefined) return all;
    } finally {
      addon.netlinkClose(socket);
    }
  }
  throw new Error('the table of the kernel changes faster than it can be read');
}

/** @returns undefined when the dump has holes */
async function dumpOnce<T>(
  addon: QueryAddon,
  socket: NativeNetlink,
  write: Request,
  decode: (message: Message) => T | undefined,
): Promise<T[] | undefined> {
  const writer = new MessageWriter();
  write(writer, 1);
  addon.netlinkSend(socket, writer.take());
  const all: T[] = [];
  let holes = false;
  for (;;) {
    const datagram = addon.netlinkReceive(socket);
    if (datagram === undefined) throw new Error('the kernel ended a dump without saying so');
    for (const one of decodeMessages(datagram).received) {
      if (one.kind === 'message') {
        holes ||= one.interrupted;
        const read = decode(one);
        if (read !== undefined) all.push(read);
      } else if (one.errno !== 0) throw failure(one.errno);
      else if (one.kind === 'done') return holes ? undefined : all;
    }
    await nextTurn();
  }
}

/** @returns what an errno of an answer says, as an error */
export function failure(errno: number): Error {
  return Object.assign(new Error(`the kernel refuses the request: ${nameOf(errno)}`), { errno });
}

const NAMES = new Map([
  [1, 'EPERM: it takes the capability NET_ADMIN in this network namespace'],
  [16, 'EBUSY: somebody else has it'],
  [22, 'EINVAL'],
  [95, 'EOPNOTSUPP: the kernel was built without it'],
]);

/** What an errno says, for messages. */
export function nameOf(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}
