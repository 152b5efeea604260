import t, { type Test } from 'tap';
import type { Curves } from '../../src/lib/curves.ts';
import { nativeCurves } from '../../src/lib/native-curves.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { loadAddon } from '../../src/native.ts';
import { rehearseHandshakes } from '../../src/proxy/rehearsal.ts';
import { rehearseSoon } from '../../src/proxy/rehearse-soon.ts';

const clock = { monotonic: 1_000, epochSeconds: 1_800_000_000 };

t.test('rehearsal: each is a whole first contact, token and signatures verified on both sides', (t) => {
  for (const curves of [NODE_CURVES, nativeCurves(loadAddon()) ?? NODE_CURVES]) {
    const done = { verified: 0, keys: 0 };
    const counting: Curves = {
      verifyingKey: (x, y) => counted(curves.verifyingKey(x, y)),
      verifyingKeyOf: (key) => counted(curves.verifyingKeyOf(key)),
      generateEphemeral: () => {
        done.keys++;
        return curves.generateEphemeral();
      },
    };
    const counted = (key: ReturnType<Curves['verifyingKey']>): typeof key => ({
      verify: (data, signature) => {
        done.verified++;
        return key.verify(data, signature);
      },
    });
    t.equal(rehearseHandshakes(counting, 3, clock), 3);
    t.strictSame(done, { verified: 3 * 4, keys: 3 * 2 });
  }
  t.end();
});

t.test('rehearsal: what is rehearsed really has to be proven', (t) => {
  const nothing: Curves = {
    ...NODE_CURVES,
    verifyingKey: () => ({ verify: () => false }),
  };
  t.equal(rehearseHandshakes(nothing, 2, clock), 0);
  t.end();
});

const unexpected = (error: unknown): void => {
  throw error;
};

/** The rehearsals keep no process alive; a test has to. */
function alive(t: Test): void {
  const timer = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(timer));
}

t.test('rehearsal: so many come, one in each turn, and none any more', async (t) => {
  alive(t);
  let played = 0;
  const waited = Promise.withResolvers<void>();
  let turns = 0;
  rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0, times: 3 }, () => {
    played++;
    if (played === 3) setImmediate(() => setImmediate(waited.resolve));
    else setImmediate(() => turns++);
    return 1;
  });
  await waited.promise;
  t.equal(played, 3);
  t.equal(turns, 2, 'others had their turn in between');
});

t.test('rehearsal: none comes after the end, whether it had begun or not', async (t) => {
  alive(t);
  const before = rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0 }, () => {
    throw new Error('it was ended before');
  });
  before.close();
  let played = 0;
  const begun = Promise.withResolvers<void>();
  const during = rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0 }, () => {
    played++;
    during.close();
    begun.resolve();
    return 1;
  });
  await begun.promise;
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(played, 1);
});

t.test('rehearsal: one that fails or throws is told of, and no other follows', async (t) => {
  alive(t);
  for (const rehearse of [
    () => 0,
    () => {
      throw new Error('out of keys');
    },
  ]) {
    let played = 0;
    const told = Promise.withResolvers<unknown>();
    rehearseSoon(NODE_CURVES, told.resolve, { afterMs: 0 }, () => {
      played++;
      return rehearse();
    });
    t.match(await told.promise, { message: /not established|out of keys/ });
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    t.equal(played, 1);
  }
});

t.test('rehearsal: a sidecar plays it by itself, with the clock of its machine', async (t) => {
  alive(t);
  let keys = 0;
  const all = Promise.withResolvers<void>();
  const counting: Curves = {
    ...NODE_CURVES,
    generateEphemeral: () => {
      if (++keys === 4) setImmediate(all.resolve);
      return NODE_CURVES.generateEphemeral();
    },
  };
  rehearseSoon(counting, unexpected, { afterMs: 0, times: 2 });
  await all.promise;
  t.equal(keys, 4);
});
