import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { once } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { COMMAND, EVENT, loadAddon, type NativeEvent } from '../../src/native.ts';
import { runs } from '../support/effort.ts';

/** The addon without its types: whatever it is given, it answers or throws. */
const addon = loadAddon() as unknown as Record<string, (...values: unknown[]) => unknown>;
t.setTimeout(600_000);

/** One step: a call with values that may be nonsense, or something that happens on the network. */
type Step =
  | { readonly kind: 'call'; readonly name: string; readonly values: readonly unknown[] }
  | { readonly kind: 'connect' }
  | { readonly kind: 'write'; readonly which: number; readonly bytes: Uint8Array }
  | { readonly kind: 'end' | 'reset'; readonly which: number };

/** Stand for what exists only at run time. */
const HANDLE = Symbol('handle');
const SERVER_PORT = Symbol('server port');
const KNOWN = (at: number) => ({ known: at });

const nonsense = fc.anything({ withBigInt: true, withNullPrototype: true, withTypedArray: true });
const size = fc.oneof(fc.nat({ max: 70_000 }), fc.double(), fc.constantFrom(-1, 2 ** 32, 2 ** 53, 1e300));
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.uint8Array({ maxLength: 20 }).map((tail) => Uint8Array.from([...FrameFormat.magic, 1, 1, ...tail])),
  fc.constant(new Uint8Array(300_000)),
);
const id = fc.oneof({ weight: 6, arbitrary: fc.nat({ max: 7 }).map(KNOWN) }, size, nonsense);
const mostly = <T>(good: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 19, arbitrary: good }, nonsense);
const handle = mostly(fc.constant(HANDLE));
const commands = Object.values(COMMAND).filter((type) => type !== COMMAND.stop);

const call = (name: string, ...values: fc.Arbitrary<unknown>[]): fc.Arbitrary<Step> =>
  fc
    .tuple(
      fc.tuple(...values),
      fc.oneof({ weight: 30, arbitrary: fc.constant(0) }, fc.integer({ min: -2, max: 2 })),
    )
    .map(([list, more]) => ({
      kind: 'call',
      name,
      values: more < 0 ? list.slice(0, more) : [...list, ...Array<undefined>(more)],
    }));
const step = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>({ kind: 'connect' }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('write' as const), which: fc.nat({ max: 7 }), bytes }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('end' as const, 'reset' as const),
      which: fc.nat({ max: 7 }),
    }),
  },
  {
    weight: 12,
    arbitrary: call(
      'command',
      handle,
      fc.oneof(
        { weight: 9, arbitrary: fc.constantFrom(...commands) },
        fc.constantFrom(0, 4, 10, 77, -1, 1e300),
      ),
      id,
      mostly(fc.constantFrom(0, 1)),
      mostly(fc.boolean()),
      mostly(size),
      mostly(bytes),
    ),
  },
  {
    weight: 5,
    arbitrary: call(
      'dial',
      handle,
      id,
      // Nobody but ourselves is called.
      fc.oneof(
        { weight: 9, arbitrary: fc.constant('127.0.0.1') },
        fc.constantFrom('', 'x', '127.0.0.1%lo', 7),
      ),
      fc.oneof({ weight: 9, arbitrary: fc.constant(SERVER_PORT) }, fc.constantFrom(1, 65_536, -1, 'x')),
      mostly(fc.boolean()),
      mostly(bytes),
      mostly(fc.boolean()),
      fc.oneof(
        { weight: 5, arbitrary: fc.constant(undefined) },
        fc.constantFrom('127.0.0.5', '192.0.2.1', '::1', 'x', 7),
      ),
      fc.constantFrom(0, 40_000, SERVER_PORT, 65_536, 'x'),
    ),
  },
  { weight: 3, arbitrary: call('wake', handle) },
  { weight: 1, arbitrary: call('progress', handle, id) },
  {
    weight: 1,
    arbitrary: call(
      'listen',
      handle,
      fc.constantFrom('127.0.0.1', '::1', 'x', 3),
      fc.constantFrom(0, 65_536, 'x'),
      size,
    ),
  },
);

t.test('native data path: no sequence of calls, whatever is in them, does harm', async (t) => {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {}).on('end', () => socket.end());
    socket.pipe(socket, { end: false });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const serverPort = (server.address() as AddressInfo).port;
  let accepted = 0;
  let closed = 0;

  const play = async (steps: readonly Step[]): Promise<void> => {
    const ids: number[] = [];
    const clients: Socket[] = [];
    const over = Promise.withResolvers<void>();
    const path = addon['start']!((batch: readonly NativeEvent[]) => {
      for (const event of batch) {
        if (event[0] === EVENT.accepted) ids.push(event[1]);
        if (event[0] === EVENT.accepted) accepted++;
        if (event[0] === EVENT.closed) closed++;
        if (event[0] === EVENT.stopped) over.resolve();
      }
    });
    const [, port] = addon['listen']!(path, '127.0.0.1', 0, 0) as [number, number];
    const real = (value: unknown): unknown => {
      if (value === HANDLE) return path;
      if (value === SERVER_PORT) return serverPort;
      const isKnown = typeof value === 'object' && value !== null && 'known' in value;
      return isKnown ? (ids[Number(value.known) % ids.length] ?? 0) : value;
    };
    for (const one of [{ kind: 'connect' } as const, ...steps]) {
      const client = 'which' in one ? clients[one.which % clients.length] : undefined;
      if (one.kind === 'call') {
        try {
          addon[one.name]!(...one.values.map(real));
        } catch (error) {
          if (!(error instanceof Error)) throw error;
        }
      } else if (one.kind === 'connect') {
        const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).on('error', () => {});
        socket.resume();
        clients.push(socket);
        const known = ids.length;
        // Where the listener is gone, both end by the error.
        await Promise.race(['connect', 'close'].map((event) => once(socket, event).catch(() => {})));
        for (let turns = 0; turns < 50 && ids.length === known; turns++) await turn();
      } else if (one.kind === 'write') client?.write(one.bytes);
      else if (one.kind === 'end') client?.end();
      else client?.resetAndDestroy();
      // Several commands in a row come in one batch.
      if (one.kind !== 'call') addon['wake']!(path);
      await turn();
    }
    addon['command']!(path, COMMAND.stop, 0, 0, false, 0, undefined);
    await over.promise;
    for (const client of clients) client.destroy();
    t.throws(() => addon['progress']!(path, 1), { code: 'ECLOSED' });
  };

  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), play), {
    numRuns: runs(100),
    endOnFailure: true,
  });
  t.ok(accepted > 50, `${accepted} connections`);
  t.equal(closed, accepted, 'each is told to have ended, once');
  server.close();
});

t.test('native data path: a handle of another kind is none of a data path', (t) => {
  for (const other of [{}, Object.create(null), new Proxy({}, {}), () => {}, null, 7]) {
    t.throws(() => addon['progress']!(other, 1), TypeError);
  }
  t.end();
});
