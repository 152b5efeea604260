import { decodeEntry, encodeDelete, encodeGet } from '../netlink/conntrack.ts';
import { ENOENT, failure, type QuerySocket } from '../netlink/query-socket.ts';
import { decodeConnectedSocket, encodeSocketDestroy, encodeSocketFind } from '../netlink/socket-destroy.ts';
import type { MarkMatch } from './marks.ts';
import type { FlowTuple } from './packet-path.ts';
import { reversedTuple } from './packets.ts';

/** So many are asked about in one call of the kernel; their answers find room in the buffer of the socket. */
const AT_ONCE = 128;
/** The kernel was built without CONFIG_INET_DIAG_DESTROY: what comes of the connection is answered with RSTs. */
const EOPNOTSUPP = 95;

interface Cut {
  readonly tuple: FlowTuple;
  /** Seen from its socket here. */
  readonly sending: FlowTuple;
  readonly device: number;
}

/**
 * Ends connections, many in four calls of the kernel: their sockets, and then their entries in conntrack. In this order, so that the RST of a socket still leaves by the mark of its
 * connection, and no queue has it.
 *
 * Whatever is ended is named by more than its ports, on which there may be another connection: a socket by its cookie, an entry by its id, and that alone while it bears the mark. No
 * verdict falls between question and order.
 */
export class ConnectionCuts {
  readonly #sockets: QuerySocket;
  readonly #conntrack: QuerySocket;
  readonly #marked: MarkMatch;
  readonly #onProblem: (error: Error) => void;
  #waiting: Cut[] = [];

  /** @param marked of entries that may be removed */
  constructor(
    sockets: QuerySocket,
    conntrack: QuerySocket,
    marked: MarkMatch,
    onProblem: (error: Error) => void,
  ) {
    this.#sockets = sockets;
    this.#conntrack = conntrack;
    this.#marked = marked;
    this.#onProblem = onProblem;
  }

  /** Carried out with the next ones, by {@link flush} at the latest. */
  add(tuple: FlowTuple, outgoing: boolean, device: number): void {
    this.#waiting.push({ tuple, sending: outgoing ? tuple : reversedTuple(tuple), device });
    if (this.#waiting.length >= AT_ONCE) this.flush();
  }

  flush(): void {
    if (this.#waiting.length === 0) return;
    const cuts = this.#waiting;
    this.#waiting = [];
    try {
      this.#endSockets(cuts);
    } catch (error) {
      this.#onProblem(error as Error);
    }
    try {
      this.#removeEntries(cuts);
    } catch (error) {
      this.#onProblem(error as Error);
    }
  }

  #endSockets(cuts: readonly Cut[]): void {
    const found = this.#sockets.ask(cuts, ({ sending, device }, writer, sequence) =>
      encodeSocketFind(writer, sending, device, sequence, false),
    );
    const ending = cuts.flatMap((cut, index) => {
      const { message, errno } = found[index]!;
      if (errno !== 0 && errno !== ENOENT) throw failure(errno);
      const cookie = message && decodeConnectedSocket(message, cut.sending);
      return cookie === undefined ? [] : [{ ...cut, cookie }];
    });
    const ended = this.#sockets.ask(ending, ({ sending, device, cookie }, writer, sequence) =>
      encodeSocketDestroy(writer, sending, device, cookie, sequence),
    );
    demandDone(ended, [ENOENT, EOPNOTSUPP]);
  }

  #removeEntries(cuts: readonly Cut[]): void {
    const { value, mask } = this.#marked;
    const found = this.#conntrack.ask(cuts, ({ tuple }, writer, sequence) =>
      encodeGet(writer, tuple, sequence, false),
    );
    const removed = cuts.flatMap(({ tuple }, index) => {
      const { message, errno } = found[index]!;
      if (errno !== 0 && errno !== ENOENT) throw failure(errno);
      const entry = message && decodeEntry(message);
      return entry !== undefined && (entry.mark & mask) >>> 0 === value ? [{ tuple, id: entry.id }] : [];
    });
    const gone = this.#conntrack.ask(removed, ({ tuple, id }, writer, sequence) =>
      encodeDelete(writer, tuple, sequence, id),
    );
    demandDone(gone, [ENOENT]);
  }
}

function demandDone(answers: readonly { readonly errno: number }[], harmless: readonly number[]): void {
  for (const { errno } of answers) if (errno !== 0 && !harmless.includes(errno)) throw failure(errno);
}
