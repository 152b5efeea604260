import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { EXIT, UserError } from '../errors.ts';
import { canonicalAddress, type Endpoint, formatEndpoint } from '../lib/address.ts';
import type {
  Closed,
  ConnectionId,
  DataPath,
  DataPathEvents,
  DialOptions,
  Listener,
  ListenOptions,
  RelayOptions,
  Side,
} from './data-path.ts';
import { SocketSide } from './socket-side.ts';

interface Connection {
  readonly id: ConnectionId;
  readonly sides: { client: SocketSide; upstream: SocketSide | undefined };
  dialling: Socket | undefined;
  reading: { side: Side; maxBytes: number } | undefined;
  relay: { guard: boolean; held: boolean } | undefined;
  bytesIn: number;
  bytesOut: number;
  pumping: boolean;
}

/** How long the brain's last bytes may take to be written before the reset that follows them. */
const LAST_WORDS_MS = 1_000;

/**
 * The reference: the seam on `net.Socket`, for the contract and for machines without the addon's kernel. Node cannot read the
 * original destination or the SYN, and cannot ask for Fast Open or for the address of another host, so it can never enforce. It reads ahead by a bounded amount, and
 * hears of a reset only while it reads.
 */
export class SocketDataPath implements DataPath {
  readonly #events: DataPathEvents;
  readonly #connections = new Map<ConnectionId, Connection>();
  readonly #servers = new Set<Server>();
  readonly #sockets = new Set<Socket>();
  #lastId = 0;

  constructor(events: DataPathEvents) {
    this.#events = events;
  }

  async listen(options: ListenOptions): Promise<Listener> {
    const { address, port, role } = options;
    const server = createServer({ allowHalfOpen: true });
    server.on('connection', (socket) => this.#accept(socket, role));
    try {
      server.listen({ host: address, port, ipv6Only: true, backlog: 4096 });
      await once(server, 'listening');
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      throw new UserError(`cannot listen on ${formatEndpoint({ address, port })}: ${code}`, {
        exitCode: EXIT.failure,
        cause: error,
      });
    }
    this.#servers.add(server);
    const bound = server.address();
    return {
      endpoint: { address, port: bound !== null && typeof bound === 'object' ? bound.port : port },
      close: () => {
        this.#servers.delete(server);
        server.close();
      },
    };
  }

  readFrame(id: ConnectionId, side: Side, maxBytes: number): void {
    this.#with(id, (connection) => {
      connection.reading = { side, maxBytes };
    });
  }

  send(id: ConnectionId, side: Side, bytes: Uint8Array): void {
    this.#with(id, (connection) => {
      (connection.sides[side]?.socket ?? connection.dialling)?.write(Uint8Array.from(bytes));
    });
  }

  dial(id: ConnectionId, target: Endpoint, options: DialOptions): void {
    this.#with(id, (connection) => {
      this.#forgetUpstream(connection);
      if (options.source !== undefined) {
        const report = { synRetransmits: 0, synData: 'none', unbound: true } as const;
        setImmediate(() => {
          if (this.#connections.has(id)) this.#events.dialled(id, 'EOPNOTSUPP', undefined, report);
        });
        return;
      }
      const socket = connect({ host: target.address, port: target.port, allowHalfOpen: true, noDelay: true });
      connection.dialling = socket;
      this.#keep(socket);
      if (options.first !== undefined) socket.write(Uint8Array.from(options.first));
      const current = (): boolean => connection.dialling === socket && this.#connections.has(id);
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (!current()) return;
        connection.dialling = undefined;
        this.#events.dialled(id, error.code ?? 'EUNKNOWN', undefined);
      });
      socket.once('connect', () => {
        if (!current()) {
          socket.resetAndDestroy();
          return;
        }
        connection.dialling = undefined;
        connection.sides.upstream = new SocketSide(socket, () => this.#run(connection));
        this.#events.dialled(id, undefined, endpointOf(socket.localAddress, socket.localPort));
        this.#run(connection);
      });
    });
  }

  relay(id: ConnectionId, options: RelayOptions): void {
    this.#with(id, (connection) => {
      const { guard, verdictFrame } = options;
      connection.relay = { guard, held: verdictFrame !== undefined };
      connection.reading =
        verdictFrame === undefined ? undefined : { side: 'upstream', maxBytes: verdictFrame };
    });
  }

  release(id: ConnectionId): void {
    this.#with(id, (connection) => {
      if (connection.relay !== undefined) connection.relay.held = false;
    });
  }

  dropUpstream(id: ConnectionId): void {
    this.#with(id, (connection) => {
      this.#forgetUpstream(connection);
      connection.relay = undefined;
    });
  }

  reset(id: ConnectionId): void {
    const connection = this.#connections.get(id);
    if (connection !== undefined) this.#close(connection, 'reset');
  }

  progress(id: ConnectionId): { bytesIn: number; bytesOut: number } | undefined {
    const connection = this.#connections.get(id);
    return connection && { bytesIn: connection.bytesIn, bytesOut: connection.bytesOut };
  }

  async close(): Promise<void> {
    for (const connection of this.#connections.values()) this.#close(connection, 'reset');
    const servers = [...this.#servers];
    this.#servers.clear();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    await Promise.all([...this.#sockets].map((socket) => once(socket, 'close')));
  }

  /** Remembers a socket until it is closed: {@link close} leaves none behind. */
  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #accept(socket: Socket, role: ListenOptions['role']): void {
    this.#keep(socket);
    const peer = endpointOf(socket.remoteAddress, socket.remotePort);
    const local = endpointOf(socket.localAddress, socket.localPort);
    if (peer === undefined || local === undefined) {
      socket.resetAndDestroy(); // gone before it could be asked who it is
      return;
    }
    const connection: Connection = {
      id: ++this.#lastId,
      sides: { client: new SocketSide(socket, () => this.#run(connection)), upstream: undefined },
      dialling: undefined,
      reading: undefined,
      relay: undefined,
      bytesIn: 0,
      bytesOut: 0,
      pumping: false,
    };
    this.#connections.set(connection.id, connection);
    const syn = new Uint8Array();
    this.#events.accepted(connection.id, { role, peer, local, original: undefined, syn });
  }

  /** Changes a connection, then does what can be done for it: later, so that no report comes out of a call. */
  #with(id: ConnectionId, change: (connection: Connection) => void): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    change(connection);
    setImmediate(() => this.#run(connection));
  }

  #run(connection: Connection): void {
    if (connection.pumping || !this.#connections.has(connection.id)) return;
    connection.pumping = true;
    this.#readFrame(connection);
    const { client, upstream } = connection.sides;
    if (connection.relay !== undefined && upstream !== undefined) {
      this.#move(connection, client, upstream);
      if (!connection.relay?.held) this.#move(connection, upstream, client);
    }
    connection.pumping = false;
    this.#settle(connection);
  }

  #readFrame(connection: Connection): void {
    const { reading, id } = connection;
    const side = reading && connection.sides[reading.side];
    const result = side?.readFrame(reading!.maxBytes);
    if (reading === undefined || result === undefined) return;
    connection.reading = undefined;
    if (result.kind === 'frame') this.#events.frame(id, reading.side, result.frame);
    else if (result.kind === 'tooLarge') this.#events.frameTooLarge(id, reading.side, result.announced);
    else this.#events.notFrame(id, reading.side, Uint8Array.from(result.bytes), result.endOfFile);
  }

  #move(connection: Connection, from: SocketSide, to: SocketSide): void {
    const { relay, sides, id } = connection;
    if (relay === undefined || to.finished || !to.writable) return;
    const inbound = from === sides.client;
    if (inbound && relay.guard) {
      if (from.mayBecomeMagic && !(from.isOver && from.length < 8)) {
        if (from.length < 8) return;
        connection.relay = undefined;
        this.#events.preamble(id, connection.bytesOut > 0);
        return;
      }
      relay.guard = false;
    }
    if (from.length > 0) {
      const bytes = from.take();
      if (inbound) connection.bytesIn += bytes.length;
      else connection.bytesOut += bytes.length;
      to.socket.write(bytes);
    }
    if (from.length === 0 && from.ended) to.finish();
  }

  #settle(connection: Connection): void {
    const { client, upstream } = connection.sides;
    if (!this.#connections.has(connection.id)) return;
    const broken = connection.relay === undefined ? undefined : upstream;
    // What a side sent before it broke is passed on first; towards a side that is broken nothing can be.
    if (client.wasReset && (connection.relay === undefined || client.length === 0)) {
      this.#close(connection, 'client-reset');
    } else if (broken?.wasReset && (broken.length === 0 || client.wasReset) && !connection.relay?.held) {
      this.#close(connection, 'upstream-reset');
    } else if (client.finished && upstream?.finished && client.ended && upstream.ended) {
      this.#close(connection, 'end');
    }
  }

  #forgetUpstream(connection: Connection): void {
    connection.dialling?.destroy();
    connection.dialling = undefined;
    connection.sides.upstream?.socket.resetAndDestroy();
    connection.sides.upstream = undefined;
    if (connection.reading?.side === 'upstream') connection.reading = undefined;
  }

  #close(connection: Connection, cause: Closed['cause']): void {
    const { id, bytesIn, bytesOut, sides } = connection;
    this.#connections.delete(id);
    connection.dialling?.destroy();
    for (const side of [sides.client, sides.upstream]) {
      if (side === undefined || cause === 'end') continue;
      resetWhenWritten(side.socket);
    }
    setImmediate(() => this.#events.closed(id, { cause, bytesIn, bytesOut }));
  }
}

/** Node tells when bytes are with the kernel, not when they have arrived; the shortest wait lets them leave first. */
function resetWhenWritten(socket: Socket): void {
  if (socket.destroyed || socket.bytesWritten === 0) {
    socket.resetAndDestroy();
    return;
  }
  const late = setTimeout(() => socket.resetAndDestroy(), LAST_WORDS_MS);
  socket.write('', () => setTimeout(() => socket.resetAndDestroy(), 5));
  socket.once('close', () => clearTimeout(late));
}

function endpointOf(address: string | undefined, port: number | undefined): Endpoint | undefined {
  const canonical = address === undefined ? undefined : canonicalAddress(address);
  return canonical === undefined || port === undefined ? undefined : { address: canonical, port };
}
