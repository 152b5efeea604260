import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { soaking } from '../support/effort.ts';

t.setTimeout(900_000);

/** `make long-test` runs the long one. */
const CONNECTIONS = soaking ? 100_000 : 10_000;
const AT_ONCE = 32;

/** Node.js itself takes some megabytes in steps while it warms up; the smallest thing that a connection allocates is more, over so many. */
const MOST_BYTES_EACH = soaking ? 60 : 300;

const descriptors = (): number => readdirSync('/proc/self/fd').length;

t.test(`native data path: ${CONNECTIONS} short connections leave no descriptor and no memory`, async (t) => {
  const server = createServer((socket) =>
    socket.on('error', () => {}).on('data', (bytes) => socket.end(bytes)),
  );
  server.listen({ port: 0, host: '127.0.0.1', backlog: 512 });
  await once(server, 'listening');
  const target = { address: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const addon = loadAddon();
  let ended = 0;
  const path = new NativeDataPath(addon, {
    accepted: (id) => path.dial(id, target, { fastOpen: true, first: Buffer.from('hello ') }),
    dialled: (id, error) => (error === undefined ? path.relay(id, { guard: true }) : path.reset(id)),
    frame: () => {},
    notFrame: () => {},
    frameTooLarge: () => {},
    preamble: () => {},
    closed: () => ended++,
  });
  const { endpoint } = await path.listen({ role: 'inbound', address: '127.0.0.1', port: 0 });

  /** One in eight ends by a reset, one in eight says nothing. */
  const one = async (number: number): Promise<void> => {
    const socket = connect({ port: endpoint.port, host: '127.0.0.1' }).on('error', () => {});
    socket.resume();
    if (number % 8 === 0) socket.once('connect', () => socket.resetAndDestroy());
    else if (number % 8 === 1) socket.once('connect', () => socket.end());
    else socket.end('x'.repeat(number % 2_000));
    await once(socket, 'close');
  };
  let made = 0;
  const many = async (count: number): Promise<void> => {
    const until = made + count;
    const worker = async (): Promise<void> => {
      while (made < until) await one(made++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    // eslint-disable-next-line no-unmodified-loop-condition -- by the events of the data path
    while (ended < made) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  /** Bytes of the C heap; JavaScript's sockets, which are the test's, are let go before. */
  const nativeBytes = async (): Promise<number> => {
    for (let rounds = 0; rounds < 3; rounds++) {
      collect();
      await turn();
    }
    return addon.memoryInUse();
  };

  await many(3_000);
  const before = { bytes: await nativeBytes(), descriptors: descriptors() };
  await many(CONNECTIONS);
  const each = ((await nativeBytes()) - before.bytes) / CONNECTIONS;
  t.ok(each < MOST_BYTES_EACH, `${each.toFixed(1)} bytes each`);
  t.ok(descriptors() <= before.descriptors, `${descriptors()} descriptors, ${before.descriptors} before`);
  t.equal(ended, made, 'each connection was told to have ended, once');
  await path.close();
  server.close();
});
