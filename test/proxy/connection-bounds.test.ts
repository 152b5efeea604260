import t from 'tap';
import {
  connectionBounds,
  defaultMostConnections,
  halfOpenBounds,
  readProcessBounds,
} from '../../src/proxy/connection-bounds.ts';
import { ConnectionLimitWatch } from '../../src/proxy/connection-limit-watch.ts';
import type { HeldConnections } from '../../src/relay/connection-limit.ts';

const MIB = 1 << 20;
/** An injected sidecar by default: half of its memory for the heap. */
const INJECTED = { memory: 128 * MIB, heap: 67 * MIB, descriptors: 1_048_576 };
const PLENTY = { memory: undefined, heap: 64 * 1024 * MIB, descriptors: undefined };

t.test(
  'connection bounds: by default what memory and heap have room for, in any case some, and never without end',
  (t) => {
    const rows = [
      ['nfqueue', INJECTED, 15_974],
      ['redirect', INJECTED, 8_192],
      ['nfqueue', { ...INJECTED, memory: 64 * MIB, heap: 35 * MIB }, 1_024],
      ['nfqueue', { ...INJECTED, memory: 1, heap: 1 }, 1_024],
      ['nfqueue', { ...INJECTED, memory: undefined }, 15_974],
      ['nfqueue', { memory: 1_024 * MIB, heap: 515 * MIB, descriptors: 1_024 }, 199_475],
      ['redirect', { memory: 1_024 * MIB, heap: 515 * MIB, descriptors: 1_024 }, 122_880],
      ['nfqueue', PLENTY, 262_144],
      ['redirect', PLENTY, 262_144],
    ] as const;
    for (const [mode, bounds, most] of rows)
      t.equal(defaultMostConnections(mode, bounds), most, `${mode} ${JSON.stringify(bounds)}`);
    t.end();
  },
);

t.test(
  'connection bounds: three quarters are for one source, and listeners leave descriptors for others',
  (t) => {
    t.strictSame(connectionBounds(undefined, 'redirect', INJECTED), {
      most: 8_192,
      mostOfSource: 6_144,
      mostAccepted: 8_192,
    });
    t.strictSame(connectionBounds(undefined, 'nfqueue', INJECTED), {
      most: 15_974,
      mostOfSource: 11_980,
      mostAccepted: 8_192,
    });
    t.strictSame(connectionBounds(100_000, 'nfqueue', { ...INJECTED, descriptors: 1_024 }), {
      most: 100_000,
      mostOfSource: 75_000,
      mostAccepted: 384,
    });
    t.equal(connectionBounds(undefined, 'redirect', { ...PLENTY, descriptors: 20_000 }).mostAccepted, 9_500);
    t.strictSame(connectionBounds(16, 'redirect', PLENTY), { most: 16, mostOfSource: 12, mostAccepted: 16 });
    t.end();
  },
);

t.test('connection bounds: strangers may hold half of what there may be', (t) => {
  const rows = [
    [Infinity, { total: 4_096, perSource: 256 }],
    [8_192, { total: 4_096, perSource: 256 }],
    [1_024, { total: 512, perSource: 256 }],
    [384, { total: 192, perSource: 192 }],
    [16, { total: 8, perSource: 8 }],
    [1, { total: 1, perSource: 1 }],
  ] as const;
  for (const [mostAccepted, bounds] of rows)
    t.strictSame(halfOpenBounds({ mostAccepted }), bounds, `${mostAccepted}`);
  t.end();
});

t.test('connection bounds: this process says what bounds it', (t) => {
  const { memory, heap, descriptors } = readProcessBounds();
  t.ok(heap > MIB);
  t.ok(memory === undefined || memory > MIB);
  t.ok(descriptors === undefined || descriptors > 10);
  t.end();
});

t.test('connection limit: what is refused is logged once a minute, with who has most', (t) => {
  let inbound = 0;
  const lines: object[] = [];
  const limit = {
    set: (bounds: object) => void lines.push(bounds),
    refused: () => {},
    look: (): HeldConnections => ({
      held: 100,
      refused: { all: { inbound: 0, outbound: 1 }, source: { inbound, outbound: 0 } },
      fullest: { address: '10.0.0.7', held: 75 },
    }),
  };
  const bounds = { most: 100, mostOfSource: 75, mostAccepted: 100 };
  const watch = new ConnectionLimitWatch(limit, bounds, { warn: (facts) => void lines.push(facts) });
  t.teardown(() => watch.close());
  t.strictSame(lines.splice(0), [bounds], 'the bound is set at once');
  const line = (refused: number): object => ({
    reason: 'connection-limit',
    refused,
    open: 100,
    limit: 100,
    limit_of_source: 75,
    fullest_source: '10.0.0.7',
    open_of_it: 75,
  });
  for (let second = 0; second < 60; second++) {
    inbound += 10;
    watch.tell(1_000 * second);
  }
  t.strictSame(lines.splice(0), [line(11)]);
  watch.tell(60_000);
  t.strictSame(lines.splice(0), [], 'nothing more was refused');
  inbound++;
  watch.tell(61_000);
  t.strictSame(lines.splice(0), [line(591)], 'all since the last line');
  t.end();
});
