import { setImmediate as turn } from 'node:timers/promises';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { loadAddon } from '../../src/native.ts';
import { runs } from '../support/effort.ts';
import { cannotNetns } from '../support/netns.ts';

/**
 * The addon's netlink and raw sockets, given whatever. It runs in a network namespace of its own: what is sent may be understood.
 * With INSIDE as argument this file is the program in there.
 */
const INSIDE = 'inside';
const SELF = import.meta.filename;

/** Stand for what exists only at run time: a handle that was opened, the n-th of its kind. */
interface Known {
  readonly known: 'netlink' | 'raw' | 'path';
  readonly at: number;
}
interface Step {
  readonly name: string;
  readonly values: readonly unknown[];
}

const nonsense = fc.anything({ withBigInt: true, withNullPrototype: true, withTypedArray: true });
const mostly = <T>(good: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 14, arbitrary: good }, nonsense);
const size = fc.oneof(fc.nat({ max: 70_000 }), fc.double(), fc.constantFrom(-1, 2 ** 32, 2 ** 53, 1e300));
const handle = (known: 'netlink' | 'raw'): fc.Arbitrary<unknown> =>
  fc.oneof(
    { weight: 12, arbitrary: fc.record({ known: fc.constant(known), at: fc.nat({ max: 3 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({ known: fc.constantFrom('netlink', 'raw', 'path'), at: fc.nat({ max: 3 }) }),
    },
    nonsense,
  );
/** Headers that say more, less and exactly what follows; dumps and requests that the kernel answers. */
const message = fc
  .tuple(
    fc.oneof(fc.constant(undefined), fc.nat({ max: 2 ** 32 - 1 })),
    fc.oneof(fc.constantFrom(18, 22, 26, 2, 3, 0x0301, 0x0101), fc.nat({ max: 0xffff })),
    fc.constantFrom(0x301, 0x1, 0x5, 0xffff),
    fc.uint8Array({ maxLength: 120 }),
  )
  .map(([announced, type, flags, body]) => {
    const out = Buffer.alloc(16 + body.length);
    out.writeUInt32LE(announced ?? out.length, 0);
    out.writeUInt16LE(type, 4);
    out.writeUInt16LE(flags, 6);
    out.writeUInt32LE(7, 8);
    out.set(body, 16);
    return new Uint8Array(out);
  });
const bytes = fc.oneof(
  { weight: 6, arbitrary: message },
  fc.uint8Array({ maxLength: 80 }),
  fc.constantFrom(new Uint8Array(), new Uint8Array(300_000)),
);
const address = fc.constantFrom(
  Uint8Array.of(127, 0, 0, 1),
  Uint8Array.from([...Array<number>(15).fill(0), 1]),
  new Uint8Array(),
  new Uint8Array(5),
  new Uint8Array(4000),
);
const call = (name: string, ...values: fc.Arbitrary<unknown>[]): fc.Arbitrary<Step> =>
  fc
    .tuple(
      fc.tuple(...values),
      fc.oneof({ weight: 30, arbitrary: fc.constant(0) }, fc.integer({ min: -2, max: -1 })),
    )
    .map(([list, less]) => ({ name, values: less < 0 ? list.slice(0, less) : list }));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 2,
    arbitrary: call(
      'netlinkOpen',
      mostly(fc.constantFrom(0, 4, 12, 77)),
      mostly(fc.constantFrom(0, 1, 7)),
      size,
    ),
  },
  { weight: 6, arbitrary: call('netlinkSend', handle('netlink'), mostly(bytes)) },
  { weight: 3, arbitrary: call('netlinkReceive', handle('netlink')) },
  { weight: 3, arbitrary: call('netlinkReceiveAll', handle('netlink')) },
  {
    weight: 2,
    arbitrary: call(
      'netlinkListen',
      handle('netlink'),
      mostly(fc.constant(() => {})),
      fc.constant(undefined),
    ),
  },
  { weight: 1, arbitrary: call('netlinkClose', handle('netlink')) },
  { weight: 1, arbitrary: call('rawOpen', size) },
  {
    weight: 4,
    arbitrary: call(
      'rawSend',
      handle('raw'),
      mostly(address),
      fc.oneof(fc.constantFrom(0, 1), size),
      mostly(bytes),
    ),
  },
  { weight: 1, arbitrary: call('rawClose', handle('raw')) },
);

// Of the program in the namespace, too, which loads tap as well.
t.setTimeout(300_000);
if (process.argv[2] === INSIDE) {
  await playAll();
} else {
  t.test(
    'native netlink and raw sockets: no sequence of calls, whatever is in them, does harm',
    { skip: cannotNetns() },
    async (t) => {
      const words = ['--net', process.execPath, SELF, INSIDE];
      const { stdout } = await promisify(execFile)('unshare', words, { timeout: 240_000 });
      const counted = JSON.parse(stdout) as Record<string, number>;
      for (const kind of ['netlink', 'raw', 'answered', 'delivered', 'refused']) {
        t.ok((counted[kind] ?? 0) > 0, `${kind}: ${counted[kind]}`);
      }
    },
  );
}

/** Prints how often what came about. A crash, or an exception that is none, ends the process otherwise. */
async function playAll(): Promise<void> {
  const addon = loadAddon() as unknown as Record<string, (...values: unknown[]) => unknown>;
  const path = addon['start']!(() => {});
  const counted = { netlink: 0, raw: 0, answered: 0, delivered: 0, refused: 0 };

  const play = async (steps: readonly Step[]): Promise<void> => {
    const handles = {
      netlink: [addon['netlinkOpen']!(0, 0, 65_536)],
      raw: [addon['rawOpen']!(1)],
      path: [path],
    };
    const real = (value: unknown): unknown => {
      if (typeof value === 'function')
        return (received: Uint8Array) => (counted.delivered += received.length);
      const isKnown = typeof value === 'object' && value !== null && 'known' in value && 'at' in value;
      if (!isKnown) return value;
      const { known, at } = value as Known;
      const list = handles[known];
      return list[at % list.length];
    };
    for (const { name, values } of steps) {
      try {
        const gives = addon[name]!(...values.map(real));
        if (name === 'netlinkOpen') counted.netlink += handles.netlink.push(gives) && 1;
        if (name === 'rawOpen') counted.raw += handles.raw.push(gives) && 1;
        if (name.startsWith('netlinkReceive') && gives !== undefined) counted.answered++;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        counted.refused++;
      }
      await turn();
    }
    for (const one of handles.netlink) addon['netlinkClose']!(one);
    for (const one of handles.raw) addon['rawClose']!(one);
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), play), {
    numRuns: runs(300),
    endOnFailure: true,
  });
  process.stdout.write(JSON.stringify(counted), () => process.exit(0));
}
