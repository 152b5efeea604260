import t, { type Test } from 'tap';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { nativeCurves } from '../../src/lib/native-curves.ts';
import type { Curves } from '../../src/lib/curves.ts';
import { loadAddon } from '../../src/native.ts';
import { QueueRehearsal } from '../../src/nfqueue/queue-rehearsal.ts';

/** The rehearsals keep no process alive; a test has to. */
function alive(t: Test): void {
  const timer = setInterval(() => {}, 1_000);
  t.teardown(() => clearInterval(timer));
}

/** Curves whose verifications are counted, and may be made to fail. */
function watched(curves: Curves) {
  const told = { verified: 0, honest: true };
  const counted = (key: ReturnType<Curves['verifyingKey']>): typeof key => ({
    verify: (data, signature) => {
      told.verified++;
      return key.verify(data, signature) && told.honest;
    },
  });
  const made: Curves = {
    verifyingKey: (x, y) => counted(curves.verifyingKey(x, y)),
    verifyingKeyOf: (key) => curves.verifyingKeyOf(key),
    signingKeyOf: (key) => curves.signingKeyOf(key),
    generateEphemeral: curves.generateEphemeral,
  };
  return { made, told };
}

t.test(
  'rehearsal in packets: each is a full handshake of both sides, from the SYN to the record, with either implementation of the curves',
  async (t) => {
    alive(t);
    for (const curves of [NODE_CURVES, nativeCurves(loadAddon()) ?? NODE_CURVES]) {
      const { made, told } = watched(curves);
      const rehearsal = new QueueRehearsal(made);
      told.verified = 0;
      for (let played = 0; played < 8; played++) t.ok(await rehearsal.play());
      await rehearsal.close();
      // Each side what the other one has signed: no session is found again.
      t.equal(told.verified, 8 * 2);
    }
  },
);

t.test('rehearsal in packets: what is rehearsed really has to be proven', async (t) => {
  alive(t);
  const { made, told } = watched(NODE_CURVES);
  const rehearsal = new QueueRehearsal(made);
  t.ok(await rehearsal.play());
  told.honest = false;
  t.notOk(await rehearsal.play());
  await rehearsal.close();
});

t.test(
  'rehearsal in packets: it leaves nothing that keeps the process or turns the event loop',
  async (t) => {
    const before = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    alive(t);
    const rehearsal = new QueueRehearsal(NODE_CURVES);
    t.ok(await rehearsal.play());
    await rehearsal.close();
    t.equal(process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length, before + 1);
  },
);
