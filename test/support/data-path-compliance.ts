import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import type { Endpoint } from '../../src/lib/address.ts';
import type {
  Accepted,
  Closed,
  DataPath,
  DataPathEvents,
  DialReport,
  RelayOptions,
  Side,
} from '../../src/relay/data-path.ts';

type Happened =
  | { kind: 'frame'; side: Side; text: string; length: number }
  | { kind: 'notFrame'; side: Side; bytes: string; endOfFile: boolean }
  | { kind: 'frameTooLarge'; side: Side; announced: number }
  | { kind: 'dialled'; error: string | undefined; unbound: boolean }
  | { kind: 'preamble'; upstreamSpoke: boolean }
  | { kind: 'closed'; closed: Closed };

const MAX = 5_120;
const PERL = '/usr/bin/perl';

function frame(body: string): Buffer {
  const header = Buffer.alloc(FrameFormat.headerBytes);
  header.set(FrameFormat.magic);
  header[8] = 1;
  header[9] = 1;
  header.writeUInt16BE(Buffer.byteLength(body), FrameFormat.lengthOffset);
  return Buffer.concat([header, Buffer.from(body)]);
}

/** A data path with one listener, a client that connects to it, and a server that it can dial. */
class Rig implements DataPathEvents {
  readonly dataPath: DataPath;
  readonly server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true });
  readonly serverSockets: net.Socket[] = [];
  readonly #accepted: { id: number; accepted: Accepted }[] = [];
  readonly #happened = new Map<number, Happened[]>();
  readonly clients: net.Socket[] = [];
  #notify: () => void = () => {};
  /** Judges at once what is accepted, instead of {@link connect}. */
  accept: ((id: number) => void) | undefined;
  address: Endpoint = { address: '127.0.0.1', port: 0 };
  target: Endpoint = { address: '127.0.0.1', port: 0 };

  constructor(create: (events: DataPathEvents) => DataPath) {
    this.dataPath = create(this);
    this.server.on('connection', (socket) => {
      socket.on('error', () => {});
      this.serverSockets.push(socket);
      this.#notify();
    });
  }

  async start(host = '127.0.0.1'): Promise<void> {
    this.server.listen(0, host);
    await once(this.server, 'listening');
    this.target = { address: host, port: (this.server.address() as net.AddressInfo).port };
    this.address = (await this.dataPath.listen({ role: 'inbound', address: host, port: 0 })).endpoint;
  }

  async stop(): Promise<void> {
    for (const socket of [...this.clients, ...this.serverSockets]) socket.destroy();
    this.server.close();
    await this.dataPath.close();
  }

  async connect(): Promise<{ id: number; client: net.Socket; accepted: Accepted }> {
    const client = net.connect({ host: this.address.address, port: this.address.port, allowHalfOpen: true });
    client.on('error', () => {});
    client.setNoDelay(true);
    this.clients.push(client);
    await once(client, 'connect');
    await this.#until(() => this.#accepted.length > 0);
    return { client, ...this.#accepted.shift()! };
  }

  /** Connects, dials, relays. */
  async relayed(options: RelayOptions = { guard: false }): Promise<{
    id: number;
    client: net.Socket;
    server: net.Socket;
  }> {
    const { id, client } = await this.connect();
    const server = await this.dial(id);
    this.dataPath.relay(id, options);
    return { id, client, server };
  }

  async dial(id: number, options: { fastOpen: boolean; first?: Uint8Array } = { fastOpen: false }) {
    const before = this.serverSockets.length;
    this.dataPath.dial(id, this.target, options);
    const dialled = await this.next(id);
    if (dialled.kind !== 'dialled' || dialled.error !== undefined) {
      throw new Error(`dial: ${JSON.stringify(dialled)}`);
    }
    return this.served(before);
  }

  /** The upstream connection of this number, from 0. */
  async served(index: number): Promise<net.Socket> {
    await this.#until(() => this.serverSockets.length > index);
    return this.serverSockets[index]!;
  }

  async next(id: number): Promise<Happened> {
    await this.#until(() => (this.#happened.get(id)?.length ?? 0) > 0);
    return this.#happened.get(id)!.shift()!;
  }

  has(id: number): boolean {
    return (this.#happened.get(id)?.length ?? 0) > 0;
  }

  async #until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error('nothing happened for 30 s');
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#notify = resolve;
        }),
        sleep(20),
      ]);
    }
  }

  #add(id: number, happened: Happened): void {
    const list = this.#happened.get(id) ?? [];
    this.#happened.set(id, list);
    list.push(happened);
    this.#notify();
  }

  accepted(id: number, accepted: Accepted): void {
    if (this.accept) return this.accept(id);
    this.#accepted.push({ id, accepted });
    this.#notify();
  }

  frame(id: number, side: Side, bytes: Uint8Array): void {
    const text = Buffer.from(bytes.subarray(FrameFormat.headerBytes)).toString();
    this.#add(id, { kind: 'frame', side, text, length: bytes.length });
  }

  notFrame(id: number, side: Side, bytes: Uint8Array, endOfFile: boolean): void {
    this.#add(id, { kind: 'notFrame', side, bytes: Buffer.from(bytes).toString('latin1'), endOfFile });
  }

  frameTooLarge(id: number, side: Side, announced: number): void {
    this.#add(id, { kind: 'frameTooLarge', side, announced });
  }

  dialled(id: number, error: string | undefined, _local?: Endpoint, report?: DialReport): void {
    this.#add(id, { kind: 'dialled', error, unbound: report?.unbound === true });
  }

  preamble(id: number, upstreamSpoke: boolean): void {
    this.#add(id, { kind: 'preamble', upstreamSpoke });
  }

  closed(id: number, closed: Closed): void {
    this.#add(id, { kind: 'closed', closed });
  }
}

/** Reads so many bytes, or to the end. */
async function read(socket: net.Socket, length = Number.POSITIVE_INFINITY): Promise<string> {
  let text = '';
  socket.resume();
  return new Promise((resolve) => {
    const timer = setTimeout(() => done(), 30_000);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (text.length >= length) done();
    };
    const done = (): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', done).off('close', done);
      socket.pause();
      resolve(text);
    };
    socket.on('data', onData).once('end', done).once('close', done);
  });
}

/** `reset`, `end` or, after half a minute, `open`. */
async function endOf(socket: net.Socket): Promise<'reset' | 'end' | 'open'> {
  socket.resume();
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve('open'), 30_000);
    const done = (how: 'reset' | 'end'): void => {
      clearTimeout(timer);
      resolve(how);
    };
    socket.once('error', () => done('reset')).once('end', () => done('end'));
    socket.once('close', (hadError) => done(hadError ? 'reset' : 'end'));
  });
}

/**
 * The contract of the seam, run against one implementation. One on `net.Socket` is excused from three
 * criteria: Node tells of a reset only who reads, cannot say when written bytes have arrived, and takes urgent bytes out of the stream.
 */
export function testDataPathCompliance(
  t: Test,
  name: string,
  create: (events: DataPathEvents) => DataPath,
  on: 'kernel' | 'net.Socket' = 'kernel',
): void {
  const each = (criterion: string, body: (t: Test, rig: Rig) => Promise<void>): void => {
    t.test(`${name}: ${criterion}`, async (t) => {
      const rig = new Rig(create);
      t.teardown(() => rig.stop());
      await rig.start();
      await body(t, rig);
    });
  };

  each('an accepted connection is silent: nothing is read, nothing dialled', async (t, rig) => {
    const { id, client } = await rig.connect();
    client.write('hello');
    await sleep(50);
    t.notOk(rig.has(id));
    t.equal(rig.serverSockets.length, 0);
  });

  each('it says who connected and where', async (t, rig) => {
    const { client, accepted } = await rig.connect();
    t.equal(accepted.role, 'inbound');
    t.strictSame(accepted.peer, { address: '127.0.0.1', port: client.localPort });
    t.strictSame(accepted.local, rig.address);
  });

  each('a frame is read whole, however it arrives, and what follows stays unread', async (t, rig) => {
    for (const size of [1, 5, 12, 13, 4096]) {
      const { id, client } = await rig.connect();
      rig.dataPath.readFrame(id, 'client', MAX);
      const bytes = Buffer.concat([frame('the body'), Buffer.from('application')]);
      for (let at = 0; at < bytes.length; at += size) {
        client.write(bytes.subarray(at, at + size));
        if (size < 12) await sleep(1);
      }
      t.match(await rig.next(id), { kind: 'frame', side: 'client', text: 'the body', length: 20 });
      const server = await rig.dial(id);
      rig.dataPath.relay(id, { guard: false });
      t.equal(await read(server, 11), 'application');
    }
  });

  each('two frames one behind the other are read one at a time', async (t, rig) => {
    const { id, client } = await rig.connect();
    client.write(Buffer.concat([frame('one'), frame('two')]));
    for (const text of ['one', 'two']) {
      rig.dataPath.readFrame(id, 'client', MAX);
      t.match(await rig.next(id), { kind: 'frame', text });
    }
  });

  each('the first byte that differs from the magic is told, and forwarded by a relay', async (t, rig) => {
    for (let at = 0; at < 8; at++) {
      const { id, client } = await rig.connect();
      rig.dataPath.readFrame(id, 'client', MAX);
      const bytes = Buffer.from(FrameFormat.magic.slice(0, at + 1));
      bytes[at]! ^= 1;
      client.write(bytes);
      t.match(await rig.next(id), { kind: 'notFrame', bytes: bytes.toString('latin1'), endOfFile: false });
      const server = await rig.dial(id);
      rig.dataPath.relay(id, { guard: true });
      t.equal(await read(server, at + 1), bytes.toString('latin1'), `byte ${at}`);
    }
  });

  each('a frame that announces too much is told from its header alone', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.readFrame(id, 'client', 100);
    client.write(frame('x'.repeat(89)).subarray(0, 12));
    t.match(await rig.next(id), { kind: 'frameTooLarge', announced: 101 });
    const second = await rig.connect();
    rig.dataPath.readFrame(second.id, 'client', 100);
    second.client.write(frame('x'.repeat(88)));
    t.match(await rig.next(second.id), { kind: 'frame', length: 100 });
  });

  each('an end in the middle of a frame is told with what there was', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.readFrame(id, 'client', MAX);
    client.end(frame('body').subarray(0, 5));
    const bytes = Buffer.from(FrameFormat.magic.slice(0, 5)).toString('latin1');
    t.match(await rig.next(id), { kind: 'notFrame', bytes, endOfFile: true });
  });

  each('an end before the first byte is told, too', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.readFrame(id, 'client', MAX);
    client.end();
    t.match(await rig.next(id), { kind: 'notFrame', bytes: '', endOfFile: true });
  });

  each('a relay begun while a frame is awaited gives the awaiting up', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.readFrame(id, 'client', MAX);
    client.write(FrameFormat.magic.slice(0, 3));
    await sleep(20);
    const server = await rig.dial(id);
    rig.dataPath.relay(id, { guard: false });
    t.equal((await read(server, 3)).length, 3);
  });

  each('what the brain sends arrives before what is relayed, on both sides', async (t, rig) => {
    const { id, client } = await rig.connect();
    client.write('from client');
    const server = await rig.dial(id, { fastOpen: true, first: Buffer.from('first ') });
    server.write('from server');
    rig.dataPath.send(id, 'upstream', Buffer.from('second '));
    rig.dataPath.send(id, 'client', Buffer.from('told '));
    rig.dataPath.relay(id, { guard: false });
    t.equal(await read(server, 24), 'first second from client');
    t.equal(await read(client, 16), 'told from server');
  });

  each('a refused dial is told by its name, and another one may follow', async (t, rig) => {
    const closed = net.createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as net.AddressInfo;
    closed.close();
    const { id } = await rig.connect();
    for (const fastOpen of [false, true]) {
      rig.dataPath.dial(id, { address: '127.0.0.1', port }, { fastOpen, first: Buffer.from('x') });
      t.strictSame(await rig.next(id), { kind: 'dialled', error: 'ECONNREFUSED', unbound: false });
    }
    t.ok(await rig.dial(id));
  });

  each('a second dial drops the first upstream without a trace to the client', async (t, rig) => {
    const { id, client } = await rig.connect();
    const first = await rig.dial(id, { fastOpen: true, first: frame('hello') });
    const second = await rig.dial(id);
    t.equal(await endOf(first), 'reset');
    rig.dataPath.relay(id, { guard: false });
    second.write('from the second');
    t.equal(await read(client, 15), 'from the second');
  });

  each('an upstream that ends or resets instead of answering can be dialled again', async (t, rig) => {
    for (const how of ['end', 'reset'] as const) {
      const { id, client } = await rig.connect();
      const first = await rig.dial(id, { fastOpen: true, first: frame('hello') });
      rig.dataPath.readFrame(id, 'upstream', MAX);
      if (how === 'end') first.end();
      else first.resetAndDestroy();
      t.match(await rig.next(id), { kind: 'notFrame', side: 'upstream', endOfFile: true }, how);
      const second = await rig.dial(id);
      rig.dataPath.relay(id, { guard: false });
      second.write('still here');
      t.equal(await read(client, 10), 'still here', how);
    }
  });

  each('a frame that a reset follows is still delivered', async (t, rig) => {
    const { id } = await rig.connect();
    const server = await rig.dial(id, { fastOpen: true, first: frame('hello') });
    server.write(frame('refused'));
    await sleep(20);
    server.resetAndDestroy();
    await sleep(20);
    rig.dataPath.readFrame(id, 'upstream', MAX);
    t.match(await rig.next(id), { kind: 'frame', side: 'upstream', text: 'refused' });
  });

  each('guard: a server that speaks first is heard at once', async (t, rig) => {
    const { client, server } = await rig.relayed({ guard: true });
    server.write('220 ready');
    t.equal(await read(client, 9), '220 ready');
    client.write('EHLO');
    t.equal(await read(server, 4), 'EHLO');
  });

  each(
    'guard: bytes that could still become the magic are held, and forwarded when they do not',
    async (t, rig) => {
      for (let length = 1; length < 8; length++) {
        const { client, server } = await rig.relayed({ guard: true });
        let arrived = 0;
        server.on('data', (chunk) => (arrived += chunk.length)).resume();
        client.write(FrameFormat.magic.slice(0, length));
        await sleep(20);
        t.equal(arrived, 0, `${length} bytes are held`);
        client.write('!');
        await sleep(50);
        t.equal(arrived, length + 1);
      }
    },
  );

  each('guard: an end behind a part of the magic lets both through', async (t, rig) => {
    const { client, server } = await rig.relayed({ guard: true });
    client.end(FrameFormat.magic.slice(0, 4));
    t.equal((await read(server)).length, 4);
  });

  each('guard: the magic is reported and never forwarded, and the handshake can start', async (t, rig) => {
    for (const spoke of [false, true]) {
      const { id, client, server } = await rig.relayed({ guard: true });
      if (spoke) {
        server.write('220');
        await read(client, 3);
      }
      client.write(Buffer.concat([frame('hello'), Buffer.from('app')]));
      t.strictSame(await rig.next(id), { kind: 'preamble', upstreamSpoke: spoke });
      rig.dataPath.dropUpstream(id);
      rig.dataPath.readFrame(id, 'client', MAX);
      t.match(await rig.next(id), { kind: 'frame', side: 'client', text: 'hello' });
      t.equal(await read(server), '', 'nothing reached the first upstream');
      const second = await rig.dial(id);
      rig.dataPath.relay(id, { guard: false });
      t.equal(await read(second, 3), 'app');
    }
  });

  each('guard: it is over after the first bytes', async (t, rig) => {
    const { client, server } = await rig.relayed({ guard: true });
    client.write('x');
    await read(server, 1);
    client.write(FrameFormat.magic);
    t.equal((await read(server, 8)).length, 8);
  });

  each(
    'a verdict frame is read beside the relay, and what follows it waits for the release',
    async (t, rig) => {
      const { id, client } = await rig.connect();
      const server = await rig.dial(id);
      client.write('request');
      rig.dataPath.relay(id, { guard: false, verdictFrame: MAX });
      t.equal(await read(server, 7), 'request', 'the client does not wait');
      server.write(Buffer.concat([frame('verdict'), Buffer.from('response')]));
      t.match(await rig.next(id), { kind: 'frame', side: 'upstream', text: 'verdict' });
      let early = 0;
      client.on('data', (chunk) => (early += chunk.length)).resume();
      await sleep(30);
      t.equal(early, 0);
      rig.dataPath.release(id);
      await sleep(50);
      t.equal(early, 8);
    },
  );

  each('a refusal in the place of a verdict is told though a reset follows it', async (t, rig) => {
    const { id } = await rig.connect();
    const server = await rig.dial(id);
    rig.dataPath.relay(id, { guard: false, verdictFrame: MAX });
    server.write(frame('no'));
    await sleep(10);
    server.resetAndDestroy();
    t.match(await rig.next(id), { kind: 'frame', text: 'no' });
  });

  each('half-close passes in both directions, each on its own', async (t, rig) => {
    const { id, client, server } = await rig.relayed();
    client.end('question');
    t.equal(await read(server), 'question');
    server.write('answer, ');
    t.equal(await read(client, 8), 'answer, ');
    server.end('and the rest');
    t.equal(await read(client), 'and the rest');
    t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'end', bytesIn: 8, bytesOut: 20 } });
  });

  each('a reset passes in both directions', async (t, rig) => {
    for (const side of ['client', 'server'] as const) {
      const both = await rig.relayed();
      both.client.write('x');
      await read(both.server, 1);
      const other = endOf(side === 'client' ? both.server : both.client);
      both[side].resetAndDestroy();
      t.equal(await other, 'reset', side);
      const cause = side === 'client' ? 'client-reset' : 'upstream-reset';
      t.match(await rig.next(both.id), { kind: 'closed', closed: { cause } });
    }
  });

  each('guard: a reset before the first byte stays a reset', async (t, rig) => {
    for (const bytes of [Buffer.alloc(0), Buffer.from(FrameFormat.magic.slice(0, 3))]) {
      const { id, client, server } = await rig.relayed({ guard: true });
      const ended = endOf(server);
      client.write(bytes);
      await sleep(20);
      client.resetAndDestroy();
      t.equal(await ended, 'reset', `after ${bytes.length} bytes`);
      t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'client-reset' } });
    }
  });

  if (on === 'kernel') {
    each('a reset is noticed while the other side takes no more', async (t, rig) => {
      for (const side of ['client', 'server'] as const) {
        const both = await rig.relayed();
        const chunk = Buffer.alloc(1 << 20);
        for (let sent = 0; sent < 64 && both[side].write(chunk); sent++) await sleep(1);
        await sleep(100);
        both[side].resetAndDestroy();
        const cause = side === 'client' ? 'client-reset' : 'upstream-reset';
        t.match(await rig.next(both.id), { kind: 'closed', closed: { cause } }, side);
      }
    });

    each('an answer that a reset follows arrives whole, and the reset behind it', async (t, rig) => {
      for (const uploading of [false, true]) {
        const { id, client, server } = await rig.relayed();
        client.write('request');
        await read(server, 7);
        if (uploading) client.write(Buffer.alloc(64 << 10)); // nobody reads it
        const answer = Buffer.alloc(200_000, 'answer');
        let received = 0;
        server.write(answer);
        // What the server's own kernel still held would go with the reset.
        while (rig.dataPath.progress(id)?.bytesOut !== answer.length) await sleep(5);
        server.resetAndDestroy();
        await sleep(50);
        client.on('data', (part) => (received += part.length));
        t.equal(await endOf(client), 'reset');
        t.equal(received, answer.length, uploading ? 'while the client still sends' : 'a client that waits');
      }
    });
  }

  each('a client that resets while a dial is pending is told as closed', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.dial(id, { address: '192.0.2.1', port: 9 }, { fastOpen: false });
    client.write('unread');
    await sleep(20);
    client.resetAndDestroy();
    const told: string[] = [];
    do told.push((await rig.next(id)).kind);
    while (told.at(-1) !== 'closed');
    t.ok(told.length <= 2, 'at most the failed dial before it');
  });

  each(
    'a client that resets after a refused dial is told as closed, also when a relay was asked for',
    async (t, rig) => {
      const { id, client } = await rig.connect();
      rig.dataPath.dial(id, { address: '127.0.0.1', port: 1 }, { fastOpen: false });
      rig.dataPath.relay(id, { guard: true });
      t.match(await rig.next(id), { kind: 'dialled', error: 'ECONNREFUSED' });
      client.resetAndDestroy();
      t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'client-reset' } });
    },
  );

  if (on === 'kernel') {
    each('an urgent byte in bulk stays in the stream, and so does what follows it', async (t, rig) => {
      if (!existsSync(PERL)) return t.comment('needs perl: Node.js cannot send urgent data');
      const bulk = 4 << 20;
      rig.accept = (id) => {
        rig.dataPath.dial(id, rig.target, { fastOpen: false });
        rig.dataPath.relay(id, { guard: false });
      };
      for (let round = 0; round < 8; round++) {
        const program = `use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in(${rig.address.port}, INADDR_LOOPBACK)) or die;
          my $bulk = 'x' x ${bulk}; for (my $at = 0; $at < ${bulk};) { $at += syswrite(S, $bulk, ${bulk} - $at, $at) }
          send(S, '!', MSG_OOB); syswrite(S, 'tail'); shutdown(S, 1); sysread(S, $bulk, 1)`;
        const sender = spawn(PERL, ['-e', program], { stdio: 'inherit' });
        const ended = once(sender, 'exit');
        const server = await rig.served(round);
        let [received, last] = [0, ''];
        server.on('data', (part) => {
          received += part.length;
          last = part.toString('latin1').slice(-5);
        });
        server.resume();
        await once(server, 'end');
        t.equal(received, bulk + 5, `round ${round}`);
        t.ok('!tail'.endsWith(last.replace(/^x+/, '')));
        server.end();
        await ended;
      }
    });
  }

  each('the largest frame that a header can announce is read', async (t, rig) => {
    const { id, client } = await rig.connect();
    rig.dataPath.readFrame(id, 'client', 70_000);
    client.write(frame('x'.repeat(65_535)));
    t.match(await rig.next(id), { kind: 'frame', length: 65_547 });
  });

  each('a client that resets before anything was decided is told as closed', async (t, rig) => {
    const { id, client } = await rig.connect();
    client.resetAndDestroy();
    t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'client-reset' } });
  });

  each('what a client sent before it ended arrives, also if it ended before the dial', async (t, rig) => {
    for (let round = 0; round < 20; round++) {
      const { id, client } = await rig.connect();
      client.end('tiny');
      if (round % 2 === 0) await sleep(5);
      const server = await rig.dial(id);
      rig.dataPath.relay(id, { guard: round % 3 === 0 });
      t.equal(await read(server), 'tiny');
      server.end();
      t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'end' } });
    }
  });

  each('a reset by the brain reaches both sides at once', async (t, rig) => {
    const { id, client, server } = await rig.relayed();
    client.write('x');
    await read(server, 1);
    const both = Promise.all([endOf(client), endOf(server)]);
    rig.dataPath.reset(id);
    t.strictSame(await both, ['reset', 'reset']);
    t.match(await rig.next(id), { kind: 'closed', closed: { cause: 'reset' } });
  });

  each('what was sent just before a reset is delivered first', async (t, rig) => {
    for (let round = 0; round < 10; round++) {
      const { id, client } = await rig.connect();
      client.write('some bytes that nobody reads');
      let text = '';
      client.on('data', (chunk) => (text += chunk.toString())).resume();
      const ended = endOf(client);
      rig.dataPath.send(id, 'client', Buffer.from('refused'));
      rig.dataPath.reset(id);
      t.equal(await ended, 'reset');
      t.equal(text, 'refused');
    }
  });

  each('calls on an id that is gone are ignored, and no id comes twice', async (t, rig) => {
    const seen = new Set<number>();
    for (let round = 0; round < 20; round++) {
      const { id } = await rig.connect();
      t.notOk(seen.has(id));
      seen.add(id);
      rig.dataPath.reset(id);
      t.match(await rig.next(id), { kind: 'closed' });
      rig.dataPath.send(id, 'client', Buffer.from('x'));
      rig.dataPath.dial(id, rig.target, { fastOpen: false });
      rig.dataPath.relay(id, { guard: false });
      rig.dataPath.reset(id);
      t.equal(rig.dataPath.progress(id), undefined);
      t.notOk(rig.has(id));
    }
  });

  each('progress counts what was relayed and no preamble', async (t, rig) => {
    const { id, client } = await rig.connect();
    client.write(Buffer.concat([frame('hello'), Buffer.from('12345')]));
    rig.dataPath.readFrame(id, 'client', MAX);
    await rig.next(id);
    const server = await rig.dial(id);
    rig.dataPath.send(id, 'client', frame('reply'));
    rig.dataPath.relay(id, { guard: false });
    await read(server, 5);
    server.write('123');
    await read(client, 17 + 3);
    t.strictSame(rig.dataPath.progress(id), { bytesIn: 5, bytesOut: 3 });
  });

  each('a reader that sleeps stops the sender, and nothing is lost', async (t, rig) => {
    const { client, server } = await rig.relayed();
    const chunk = randomBytes(1 << 20);
    let sent = 0;
    for (; sent < 256; sent++) {
      if (!client.write(chunk) && client.writableLength > 32 << 20) break;
      await sleep(1);
    }
    const pushed = sent * chunk.length - client.writableLength;
    t.ok(pushed < 64 << 20, `${pushed} bytes were taken`);
    client.end();
    let received = 0;
    server.on('data', (part) => (received += part.length)).resume();
    await once(server, 'end');
    t.equal(received, (sent + (sent < 256 ? 1 : 0)) * chunk.length);
  });

  each('64 MB each way at once arrive unaltered', async (t, rig) => {
    const { id, client, server } = await rig.relayed({ guard: true });
    const total = 64 << 20;
    const pump = async (from: net.Socket, to: net.Socket): Promise<boolean> => {
      const [sent, got] = [createHash('sha256'), createHash('sha256')];
      let received = 0;
      to.on('data', (part) => {
        received += part.length;
        got.update(part);
      }).resume();
      const ended = once(to, 'end');
      for (let at = 0; at < total; at += 1 << 18) {
        const part = randomBytes(1 << 18);
        sent.update(part);
        if (!from.write(part)) await once(from, 'drain');
      }
      from.end();
      await ended;
      return received === total && sent.digest('hex') === got.digest('hex');
    };
    t.strictSame(await Promise.all([pump(client, server), pump(server, client)]), [true, true]);
    t.match(await rig.next(id), {
      kind: 'closed',
      closed: { cause: 'end', bytesIn: total, bytesOut: total },
    });
  });

  each('a listener that is closed accepts no more, and what it accepted lives on', async (t, rig) => {
    const listener = await rig.dataPath.listen({ role: 'outbound', address: '127.0.0.1', port: 0 });
    const { client, server } = await rig.relayed();
    listener.close();
    await sleep(50);
    const late = net.connect(listener.endpoint.port, '127.0.0.1');
    t.equal(await endOf(late), 'reset');
    client.write('x');
    t.equal(await read(server, 1), 'x');
  });

  each('an address in use is told with address and port', async (t, rig) => {
    await t.rejects(rig.dataPath.listen({ role: 'inbound', ...rig.address }), {
      message: `cannot listen on 127.0.0.1:${rig.address.port}: EADDRINUSE`,
    });
  });

  each(
    'a dial from another address has it and its port, or fails unbound and reaches nobody',
    async (t, rig) => {
      const { id } = await rig.connect();
      const free = net.createServer().listen(0, '127.0.0.77');
      await once(free, 'listening');
      const source = { address: '127.0.0.77', port: (free.address() as net.AddressInfo).port };
      const before = rig.serverSockets.length;
      rig.dataPath.dial(id, rig.target, { fastOpen: false, source });
      const inUse = await rig.next(id);
      free.close();
      await once(free, 'close');
      if (on === 'net.Socket') {
        t.strictSame(inUse, { kind: 'dialled', error: 'EOPNOTSUPP', unbound: true });
        t.equal(rig.serverSockets.length, before);
      } else if (process.getuid?.() !== 0) {
        t.strictSame(inUse, { kind: 'dialled', error: 'EPERM', unbound: true });
        t.equal(rig.serverSockets.length, before);
      } else {
        t.match(inUse, { error: undefined, unbound: false });
        const other = await rig.served(before);
        t.equal(other.remoteAddress, source.address);
        t.not(other.remotePort, source.port, 'a listener has the port');
        rig.dataPath.dial(id, rig.target, { fastOpen: true, first: Buffer.from('hello'), source });
        t.match(await rig.next(id), { error: undefined, unbound: false });
        const kept = await rig.served(before + 1);
        t.match(kept, { remoteAddress: source.address, remotePort: source.port });
        t.equal(await read(kept, 5), 'hello');
        const second = await rig.connect();
        rig.dataPath.dial(second.id, rig.target, { fastOpen: false, source });
        t.match(await rig.next(second.id), { error: undefined, unbound: false });
        const taken = await rig.served(before + 2);
        t.equal(taken.remoteAddress, source.address);
        t.not(taken.remotePort, source.port, 'the port is in use towards the same target');
      }
    },
  );

  t.test(`${name}: IPv6 works alike`, async (t) => {
    const rig = new Rig(create);
    t.teardown(() => rig.stop());
    await rig.start('::1');
    const { client, server } = await rig.relayed();
    client.write('x');
    t.equal(await read(server, 1), 'x');
  });

  t.test(`${name}: close resets what is left and leaves no descriptor behind`, async (t) => {
    const count = (): number => readdirSync('/proc/self/fd').length;
    const before = count();
    const rig = new Rig(create);
    await rig.start();
    const { client, server } = await rig.relayed();
    await rig.connect();
    const ended = Promise.all([endOf(client), endOf(server)]);
    await rig.dataPath.close();
    t.strictSame(await ended, ['reset', 'reset']);
    await rig.stop();
    await sleep(50);
    t.equal(count(), before);
  });
}
