import t, { type Test } from 'tap';
import type { Curves } from '../../src/lib/curves.ts';
import { nativeCurves } from '../../src/lib/native-curves.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { loadAddon } from '../../src/native.ts';
import { Rehearsal } from '../../src/proxy/rehearsal.ts';
import { rehearseSoon, type Stage } from '../../src/proxy/rehearse-soon.ts';

t.test('rehearsal: each is a whole first contact, token and signatures verified on both sides', async (t) => {
  alive(t);
  for (const curves of [NODE_CURVES, nativeCurves(loadAddon()) ?? NODE_CURVES]) {
    let verified = 0;
    const counted = (key: ReturnType<Curves['verifyingKey']>): typeof key => ({
      verify: (data, signature) => {
        verified++;
        return key.verify(data, signature);
      },
    });
    const rehearsal = new Rehearsal({
      verifyingKey: (x, y) => counted(curves.verifyingKey(x, y)),
      verifyingKeyOf: (key) => counted(curves.verifyingKeyOf(key)),
      signingKeyOf: (key) => curves.signingKeyOf(key),
      generateEphemeral: curves.generateEphemeral,
    });
    verified = 0;
    for (let played = 0; played < 4; played++) t.ok(await rehearsal.play());
    await rehearsal.close();
    // Each side its own token when it takes its identity anew, the token of the other one, and what that has signed.
    t.equal(verified, 4 * 2 * 3);
  }
});

t.test('rehearsal: what is rehearsed really has to be proven', async (t) => {
  alive(t);
  let honest = true;
  const sometimes: Curves = {
    ...NODE_CURVES,
    // Tokens are signed by an issuer; this is what their holders sign by.
    verifyingKey: (x, y) => {
      const key = NODE_CURVES.verifyingKey(x, y);
      return { verify: (data, signature) => honest && key.verify(data, signature) };
    },
  };
  const rehearsal = new Rehearsal(sometimes);
  t.ok(await rehearsal.play());
  honest = false;
  t.notOk(await rehearsal.play());
  await rehearsal.close();
});

const unexpected = (error: unknown): void => {
  throw error;
};

/** The rehearsals keep no process alive; a test has to. */
function alive(t: Test): void {
  const timer = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(timer));
}

/** A stage that does nothing but what is said. */
function stage(play: () => Promise<boolean>) {
  const told = { closed: 0 };
  const close = (): Promise<void> => {
    told.closed++;
    return Promise.resolve();
  };
  const made: Stage = { play, close };
  return { made, told };
}

t.test('rehearsal: so many come, one behind the other, and none any more', async (t) => {
  alive(t);
  const done = Promise.withResolvers<void>();
  let [played, playing] = [0, 0];
  rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0, times: 3 }, () => ({
    play: async () => {
      played++;
      t.equal(++playing, 1, 'one at a time');
      await new Promise((resolve) => setImmediate(resolve));
      playing--;
      return true;
    },
    close: () => Promise.resolve(done.resolve()),
  }));
  await done.promise;
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(played, 3);
});

t.test('rehearsal: none comes after the end, whether it had begun or not', async (t) => {
  alive(t);
  const before = rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0 }, () => {
    throw new Error('it was ended before');
  });
  before.close();
  let played = 0;
  const closed = Promise.withResolvers<void>();
  const during = rehearseSoon(NODE_CURVES, unexpected, { afterMs: 0 }, () => ({
    play: () => {
      played++;
      during.close();
      return Promise.resolve(true);
    },
    close: () => Promise.resolve(closed.resolve()),
  }));
  await closed.promise;
  t.equal(played, 1);
});

t.test('rehearsal: one that fails or throws is told of, and no other follows', async (t) => {
  alive(t);
  for (const play of [() => Promise.resolve(false), () => Promise.reject(new Error('out of keys'))]) {
    let played = 0;
    const defect = Promise.withResolvers<unknown>();
    const { made, told } = stage(() => {
      played++;
      return play();
    });
    rehearseSoon(NODE_CURVES, defect.resolve, { afterMs: 0 }, () => made);
    t.match(await defect.promise, { message: /not established|out of keys/ });
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    t.equal(played, 1);
    t.equal(told.closed, 1, 'and what it was played on is put away');
  }
});

t.test('rehearsal: a sidecar plays it by itself, with its own curves', async (t) => {
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
  t.pass('two keys for each of two contacts');
});
