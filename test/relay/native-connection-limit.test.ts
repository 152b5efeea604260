/** How many connections the listeners take: real sockets, real limits of descriptors. */
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { loadAddon } from '../../src/native.ts';
import type { Accepted, ConnectionId } from '../../src/relay/data-path.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { NO_EVENTS } from '../support/no-events.ts';
import { until } from '../support/until.ts';

const UNBOUNDED = { most: 1_000_000, mostOfSource: 1_000_000, mostAccepted: 1_000_000 };

async function listening(t: Test) {
  const accepted: { id: ConnectionId; accepted: Accepted }[] = [];
  const path: NativeDataPath = new NativeDataPath(loadAddon(), {
    ...NO_EVENTS,
    accepted: (id, one) => {
      accepted.push({ id, accepted: one });
      // As the proxy does.
      if (one.beyondLimit === undefined) return;
      path.limit.refused(one.beyondLimit, one.role);
      path.reset(id);
    },
  });
  const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
  const sockets: Socket[] = [];
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    await path.close();
  });
  /** @returns whether it stays open, once that is decided */
  const call = async (source = '127.0.0.1'): Promise<boolean> => {
    const before = accepted.length;
    const socket = connect({ port: endpoint.port, host: '127.0.0.1', localAddress: source });
    sockets.push(socket);
    const closed = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve));
    await until('the connection is accepted', () => accepted.length > before);
    if (accepted.at(-1)!.accepted.beyondLimit === undefined) return true;
    await closed;
    return false;
  };
  return { path, accepted, call };
}

t.test(
  'native data path: beyond the bound a connection is refused, and one that ends leaves room for one',
  async (t) => {
    const { path, accepted, call } = await listening(t);
    path.limit.set({ ...UNBOUNDED, most: 3 });
    for (let number = 0; number < 3; number++) t.ok(await call());
    t.notOk(await call());
    t.notOk(await call());
    const { held, refused, fullest } = path.limit.look();
    t.equal(held, 3);
    t.strictSame(refused, { all: { inbound: 2, outbound: 0 }, source: { inbound: 0, outbound: 0 } });
    t.strictSame(fullest, { address: '127.0.0.1', held: 3 });
    path.reset(accepted[0]!.id);
    await until('it is over', () => path.limit.look().held === 2);
    t.ok(await call());
    t.notOk(await call());
    t.equal(path.limit.look().held, 3);
  },
);

t.test('native data path: one source has its share of the bound, others have the rest', async (t) => {
  const { path, call } = await listening(t);
  path.limit.set({ ...UNBOUNDED, most: 5, mostOfSource: 3 });
  for (let number = 0; number < 3; number++) t.ok(await call('127.0.0.1'));
  t.notOk(await call('127.0.0.1'));
  t.ok(await call('127.0.0.2'));
  t.ok(await call('127.0.0.3'));
  t.notOk(await call('127.0.0.4'), 'no room for anybody');
  t.strictSame(path.limit.look().refused.source, { inbound: 1, outbound: 0 });
  t.strictSame(path.limit.look().refused.all, { inbound: 1, outbound: 0 });
});

t.test('native data path: no more are accepted than there are descriptors for', async (t) => {
  const { path, call } = await listening(t);
  path.limit.set({ ...UNBOUNDED, mostAccepted: 2 });
  t.ok(await call());
  t.ok(await call());
  t.notOk(await call());
  t.equal(path.limit.look().refused.all.inbound, 1);
});

t.test('native data path attack: who connects without end leaves nothing behind', async (t) => {
  const { path, call } = await listening(t);
  path.limit.set({ ...UNBOUNDED, most: 10 });
  let open = 0;
  for (let number = 0; number < 300; number++) open += Number(await call());
  t.equal(open, 10);
  await until('only those that are open are counted', () => path.limit.look().held === 10);
  t.equal(path.limit.look().refused.all.inbound, 290);
});

/** Accepts and holds, with few descriptors; tells what it has accepted, and on demand its CPU time, and ends all. */
const STARVED = `
  import { loadAddon } from '${join(import.meta.dirname, '../../src/native.ts')}';
  import { NativeDataPath } from '${join(import.meta.dirname, '../../src/relay/native-data-path.ts')}';
  import { NO_EVENTS } from '${join(import.meta.dirname, '../support/no-events.ts')}';
  const ids = [];
  const path = new NativeDataPath(loadAddon(), { ...NO_EVENTS, accepted: (id) => ids.push(id) });
  const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });
  const tell = () => console.log(JSON.stringify({ port: endpoint.port, accepted: ids.length, held: path.limit.look().held, cpu: process.cpuUsage() }));
  tell();
  process.stdin.on('data', (text) => {
    if (String(text).includes('end')) for (const id of ids) path.reset(id);
    tell();
  });
`;

t.test(
  'native data path: out of descriptors it refuses at once, does not spin, and goes on when some are free',
  async (t) => {
    const node = process.execPath;
    const child = spawn(
      'sh',
      ['-c', `ulimit -n 100; exec "${node}" --input-type=module -e "$1"`, 'sh', STARVED],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    t.teardown(() => child.kill('SIGKILL'));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    interface Told {
      readonly port: number;
      readonly accepted: number;
      readonly held: number;
      readonly cpu: NodeJS.CpuUsage;
    }
    const heard = async (ask?: string): Promise<Told> => {
      if (ask !== undefined) child.stdin.write(ask);
      const { value } = (await lines.next()) as { value: string };
      return JSON.parse(value) as Told;
    };
    const { port } = await heard();
    let refused = 0;
    const sockets = Array.from({ length: 200 }, () => {
      const socket = connect(port, '127.0.0.1').on('error', () => {});
      socket.on('close', () => refused++);
      return socket;
    });
    t.teardown(() => sockets.forEach((socket) => socket.destroy()));
    let told = await heard('look');
    await until(
      'each is accepted or refused',
      async () => (told = await heard('look')).accepted + refused === sockets.length,
    );
    t.ok(told.accepted > 10 && told.accepted < 100, `${told.accepted} accepted`);
    t.equal(told.held, told.accepted, 'who was refused is not counted');

    // Nobody calls: nothing is done, however many descriptors are missing.
    const before = told.cpu;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const { cpu } = await heard('look');
    const spent = (cpu.user + cpu.system - before.user - before.system) / 1e6;
    t.ok(spent < 0.5, `${spent} s of CPU in a second`);

    await heard('end');
    await until('all are over', async () => (told = await heard('look')).held === 0);
    const again = connect(port, '127.0.0.1').on('error', () => {});
    t.teardown(() => again.destroy());
    const accepted = told.accepted;
    await until('one more', async () => (await heard('look')).accepted > accepted);
  },
);
