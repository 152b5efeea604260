import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { mac } from '../../src/handshake/key-schedule.ts';
import { ReplayWindow } from '../../src/handshake/replay-window.ts';
import { loadAddon } from '../../src/native.ts';
import { NativeDataPath } from '../../src/relay/native-data-path.ts';
import { runs } from '../support/effort.ts';
import { NO_EVENTS } from '../support/no-events.ts';

const addon = loadAddon();

for (const accelerated of [true, false]) {
  const how = accelerated ? "with the processor's instructions" : 'in plain C';
  t.test(`the addon's MAC ${how} is that of node:crypto, for every length around its blocks`, (t) => {
    for (let length = 0; length <= 300; length++) {
      const [key, bytes] = [randomBytes(32), randomBytes(length)];
      const context = 'countersign/1 test'.slice(0, 1 + (length % 18));
      const expected = Buffer.from(mac(key, context, [bytes]));
      if (!expected.equals(addon.mac(key, context, bytes, accelerated))) t.fail(`${length} bytes`);
    }
    t.end();
  });

  t.test(`the addon's MAC ${how} is that of RFC 4231's algorithm on long input`, (t) => {
    const [key, bytes] = [randomBytes(32), randomBytes(100_001)];
    t.strictSame(
      Buffer.from(addon.mac(key, 'long', bytes, accelerated)),
      Buffer.from(mac(key, 'long', [bytes])),
    );
    t.end();
  });
}

t.test('the window of the data thread agrees with that of TypeScript, however counters arrive', async (t) => {
  const path = new NativeDataPath(addon, NO_EVENTS);
  t.teardown(() => path.close());
  const counter = fc.oneof(
    fc.bigInt({ min: 0n, max: 300_000n }),
    fc.bigInt({ min: 0n, max: 5_000n }),
    fc.bigInt({ min: 64_000n, max: 67_000n }),
    fc.constantFrom(2n ** 53n - 1n, 2n ** 53n, 2n ** 64n - 1n, 2n ** 63n),
  );
  fc.assert(
    fc.property(fc.array(counter, { maxLength: 300 }), (counters) => {
      const oracle = new ReplayWindow();
      const window = path.resumption.openWindow();
      const same = counters.every((value) => window.use(value) === oracle.use(value));
      window.close();
      return same;
    }),
    { numRuns: runs(500) },
  );
  const window = path.resumption.openWindow();
  for (let value = 0n; value < 70_000n; value++) {
    if (window.use(value) !== 'fresh' || window.use(value) !== 'seen') t.fail(`counter ${value}`);
  }
  t.equal(window.use(4_463n), 'too-old');
  t.equal(window.use(4_464n), 'seen', 'the oldest one inside');
  window.close();
  t.equal(window.use(70_001n), 'too-old', 'a window that is closed lets nothing pass');
});
