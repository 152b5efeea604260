import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServerSessions, type Session } from '../../src/handshake/sessions.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import { loadAddon } from '../../src/native.ts';
import type { Accepted, Closed, DataPathEvents, Side } from '../../src/relay/data-path.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import type { ByPass, InboundPass, OwnedWindow } from '../../src/relay/resumption.ts';
import { ClientEnd, converse, type Name, type Party, ServerEnd, World } from '../handshake/parties.ts';

/** A data path with one listener, an upstream server, and two parties that have proven themselves to each other once. */
export class ResumptionRig implements DataPathEvents {
  readonly world = new World();
  readonly client: Party = this.world.party('client', '10.0.0.1');
  readonly server: Party = this.world.party('server', '10.0.0.2');
  readonly dataPath = new NativeDataPath(loadAddon(), this);
  /** The server's sessions, their counters with the data thread. */
  readonly sessions = new ServerSessions<Name>(() => this.dataPath.resumption.openWindow());
  readonly session: Session<Name>;
  readonly upstream = net.createServer({ allowHalfOpen: true });
  readonly upstreamSockets: net.Socket[] = [];
  readonly accepts: { id: number; accepted: Accepted }[] = [];
  readonly passed: ByPass[] = [];
  readonly ended = new Map<number, Closed>();
  readonly frames: Uint8Array[] = [];
  readonly #clients = new Set<net.Socket>();
  listening: Endpoint = { address: '127.0.0.1', port: 0 };
  target: Endpoint = { address: '127.0.0.1', port: 0 };
  #passes = 0;

  constructor() {
    const to = this.server.address;
    const ends = {
      client: new ClientEnd(this.world.client(this.client, to), this.world.clock),
      server: new ServerEnd(this.world.server(this.server, { sessions: this.sessions }), this.world.clock),
    };
    converse(ends.client, ends.server);
    this.session = this.offers(0n)[0]!.session;
  }

  async start(role: 'inbound' | 'outbound'): Promise<void> {
    this.upstream.on('connection', (socket) => {
      socket.on('error', () => {});
      this.upstreamSockets.push(socket);
    });
    this.upstream.listen(0, '127.0.0.1');
    await once(this.upstream, 'listening');
    this.target = { address: '127.0.0.1', port: (this.upstream.address() as net.AddressInfo).port };
    this.listening = (await this.dataPath.listen({ role, address: '127.0.0.1', port: 0 })).endpoint;
  }

  async stop(): Promise<void> {
    for (const socket of [...this.#clients, ...this.upstreamSockets]) socket.destroy();
    this.upstream.close();
    await this.dataPath.close();
  }

  /** The client's session with a counter of one's choice. */
  offers(counter: bigint): { session: Session<Name>; counter: bigint }[] {
    const { address, port } = this.server.address;
    return this.client.clientSessions
      .offer(`${address}:${port}`, this.world.clock.monotonic)
      .map(({ session }) => ({ session, counter }));
  }

  get window(): OwnedWindow {
    return this.sessions.find(this.session.id, this.world.clock.monotonic)!.window as OwnedWindow;
  }

  passInbound(
    changes: Partial<Pick<InboundPass, 'lifetimeMs' | 'peer' | 'admissionKeys' | 'session'>> = {},
  ): number {
    const { session } = this.sessions.find(this.session.id, this.world.clock.monotonic)!;
    this.dataPath.resumption.passInbound({
      number: ++this.#passes,
      lifetimeMs: 60_000,
      session,
      window: this.window,
      peer: '127.0.0.1',
      reached: this.listening,
      target: this.target,
      meant: this.server.address,
      token: this.client.token,
      keepSource: false,
      admissionKeys: [new Uint8Array(32).fill(9), this.world.admissionKey],
      ...changes,
    });
    return this.#passes;
  }

  passOutbound(
    changes: {
      lifetimeMs?: number;
      first?: bigint;
      count?: number;
      target?: Endpoint;
      ofSeveral?: boolean;
    } = {},
  ): number {
    const context = this.world.client(this.client, this.server.address, { offers: this.offers(0n) });
    const hello = new ClientEnd(context, this.world.clock).out[0]!;
    this.dataPath.resumption.passOutbound({
      number: ++this.#passes,
      lifetimeMs: changes.lifetimeMs ?? 60_000,
      session: this.session,
      dialled: this.listening,
      target: changes.target ?? this.target,
      ofSeveral: changes.ofSeveral ?? false,
      hello,
      admissionKey: this.world.admissionKey,
      fastOpen: true,
      synData: true,
      counters: { first: changes.first ?? 1_000n, count: changes.count ?? 1_000 },
    });
    return this.#passes;
  }

  async connect(first?: Uint8Array | string, localAddress = '127.0.0.1'): Promise<TestSocket> {
    const { address: host, port } = this.listening;
    const socket = net.connect({ host, port, localAddress, allowHalfOpen: true });
    socket.on('error', () => {});
    this.#clients.add(socket);
    const test = new TestSocket(socket);
    await once(socket, 'connect');
    if (first !== undefined) socket.write(first);
    return test;
  }

  /**
   * Connects with a Hello that a pass is for. On a busy machine it may come later than the data thread waits for it; TypeScript is asked then,
   * nothing is used up, and it is tried again.
   */
  async connectByPass(first: Uint8Array): Promise<TestSocket> {
    for (let tries = 1; ; tries++) {
      const asked = this.accepts.length;
      const test = await this.connect(first);
      await until(() => test.received.length > 0 || this.accepts.length > asked, 'an answer');
      if (test.received.length > 0) return test;
      test.socket.destroy();
      if (tries === 20) throw new Error('no Hello of 20 went by the pass');
    }
  }

  /** The upstream side's connection of this number, from 0. */
  async served(index: number): Promise<TestSocket> {
    await until(() => this.upstreamSockets.length > index, `upstream connection ${index}`);
    return new TestSocket(this.upstreamSockets[index]!);
  }

  accepted(id: number, accepted: Accepted): void {
    this.accepts.push({ id, accepted });
  }

  byPass(told: ByPass): void {
    this.passed.push(structuredClone(told));
  }

  closed(id: number, closed: Closed): void {
    this.ended.set(id, closed);
  }

  frame(_id: number, _side: Side, frame: Uint8Array): void {
    this.frames.push(frame);
  }

  notFrame(): void {}
  frameTooLarge(): void {}
  dialled(): void {}
  preamble(): void {}
}

/** A socket that keeps what came. */
export class TestSocket {
  readonly socket: net.Socket;
  received: Buffer = Buffer.alloc(0);
  over = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => (this.received = Buffer.concat([this.received, bytes])));
    socket.on('end', () => (this.over = true)).on('close', () => (this.over = true));
  }

  async has(bytes: number): Promise<Buffer> {
    await until(() => this.received.length >= bytes || this.over, `${bytes} bytes`);
    return this.received;
  }
}

/** Waits for a condition, generously. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (let turn = 0; !condition(); turn++) {
    if (Date.now() > deadline) throw new Error(`30 s without ${what}`);
    await (turn < 50 ? new Promise((resolve) => setImmediate(resolve)) : sleep(2));
  }
}
