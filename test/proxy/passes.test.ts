import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import type { ClientContext } from '../../src/handshake/client.ts';
import type { Session } from '../../src/handshake/sessions.ts';
import { allowed } from '../../src/proxy/judgement.ts';
import { Passes } from '../../src/proxy/passes.ts';
import type { ProvenPeer } from '../../src/proxy/peer.ts';
import type { OutboundPass } from '../../src/relay/resumption.ts';
import { World } from '../handshake/parties.ts';
import { RecordedPasses } from './simulated-data-path.ts';

const LIFETIME_MS = 60_000;

/** Passes in test time, with one peer to give them about. */
function passesInTestTime() {
  let now = 1_000_000;
  let onTell = (): void => {};
  class Recorded extends RecordedPasses {
    override tell(): void {
      onTell();
    }
  }
  const resumption = new Recorded();
  const defects: unknown[] = [];
  const passes = new Passes(
    resumption,
    () => now,
    (error) => defects.push(error),
  );
  const world = new World();
  const [client, server] = [world.party('client', '10.0.0.1'), world.party('server', '10.0.0.2')];
  const context = world.client(client, server.address) as unknown as ClientContext<ProvenPeer>;
  const peer = { podUid: 'uid-server', namespace: 'demo', podName: 'server' } as ProvenPeer;
  let counter = 0n;
  const give = (port = 80): OutboundPass => {
    const session: Session<ProvenPeer> = {
      id: randomBytes(16),
      clientKey: randomBytes(32),
      serverKey: randomBytes(32),
      peer,
      peerToken: server.token,
      expiresAt: now + 600_000,
    };
    const dialled = { ...server.address, port };
    const target = { endpoint: server.address, candidates: [server.address] };
    const told = {
      peer,
      judgement: allowed('not-isolated'),
      rejudge: () => allowed('not-isolated'),
      destination: dialled,
      sourceName: { namespace: 'demo', pod: 'client' },
    };
    const reserve = (counters: number) => [{ session, first: (counter += BigInt(counters)), told }];
    const syn = { fastOpen: true, synData: true, note: () => {} };
    passes.giveOutbound(dialled, target, context, syn, reserve);
    return resumption.outbound.at(-1)!;
  };
  return {
    passes,
    defects,
    give,
    wait: (milliseconds: number) => void (now += milliseconds),
    whenTold: (act: () => void) => void (onTell = act),
  };
}

t.test(
  'passes: of those that were taken back no key is kept, and what went by them is still understood',
  (t) => {
    const { passes, give } = passesInTestTime();
    const { number, session } = give();
    t.strictSame(passes.contextOf(number)?.offers[0]?.session.clientKey, session.clientKey);
    passes.revoke();
    t.equal(passes.contextOf(number), undefined);
    t.equal(passes.find(number)?.number, number);
    t.end();
  },
);

t.test(
  'passes: of a burst of handshakes with one place the first alone gives one, and the next a moment later',
  (t) => {
    const { passes, give, wait } = passesInTestTime();
    const isDue = (port: number): boolean => {
      const { target, dialled } = give(1);
      return passes.isDueOutbound('stream', { ...dialled, port }, target);
    };
    t.ok(isDue(80), 'before any was given');
    const { number } = give(80);
    t.notOk(isDue(80));
    t.equal(give(80).number, number, 'and who does not ask gets none either');
    t.ok(isDue(81), 'another place is another matter');
    wait(249);
    t.notOk(isDue(80));
    wait(1);
    t.ok(isDue(80));
    passes.revoke();
    give(80);
    passes.revoke();
    t.ok(isDue(80), 'what was taken back is due at once');
    t.end();
  },
);

t.test('passes: they are given behind what was asked for in the same turn of the event loop', async (t) => {
  const { passes, defects } = passesInTestTime();
  const done: string[] = [];
  // As the data path is woken for the bytes of the connection that a pass is given after.
  setImmediate(() => done.push('the data path is woken'));
  passes.soon(() => {
    done.push('one');
    throw new Error('of one alone');
  });
  passes.soon(() => done.push('another'));
  t.strictSame(done, [], 'nothing at once');
  await nextTurn();
  t.strictSame(done, ['the data path is woken', 'one', 'another']);
  t.match(defects, [{ message: 'of one alone' }], 'a defect of one is told and touches no other');

  passes.soon(() => done.push('a third'));
  await nextTurn();
  t.equal(done.at(-1), 'a third', 'and so on');
});

t.test(
  'passes: none is given once the sidecar has ended them, however long it was meant to be',
  async (t) => {
    const { passes } = passesInTestTime();
    let given = 0;
    passes.soon(() => given++);
    passes.end();
    passes.soon(() => given++);
    await nextTurn();
    await nextTurn();
    t.equal(given, 0);
  },
);

t.test('passes: one that is over is forgotten, after what went by it was told', (t) => {
  const { passes, give, wait, whenTold } = passesInTestTime();
  const first = give(1);
  wait(LIFETIME_MS / 2);
  const second = give(2);
  wait(LIFETIME_MS / 2);
  give(3);
  t.equal(passes.remembered, 3, 'a handshake may still be under way by one that is just over');
  let understood = false;
  whenTold(() => (understood ||= passes.find(first.number) !== undefined));
  wait(LIFETIME_MS / 4);
  give(4);
  t.ok(understood, 'told while it was remembered');
  t.equal(passes.find(first.number), undefined);
  t.equal(passes.contextOf(first.number), undefined);
  t.ok(passes.find(second.number));
  for (let port = 1_000; port < 1_500; port++) {
    wait(1_000);
    give(port);
  }
  t.ok(passes.remembered < 70, `${passes.remembered} after 500, one each second`);
  t.end();
});

t.test(
  'passes attack: a caller that says something else with each call has one pass a second for a session, and those of others are not forgotten',
  (t) => {
    const { passes, wait } = passesInTestTime();
    const reached = { address: '10.0.0.2', port: 80 };
    const peer = { podUid: 'uid-client', namespace: 'demo', podName: 'client' } as ProvenPeer;
    const sessionOf = (): Session<ProvenPeer> => ({
      id: randomBytes(16),
      clientKey: randomBytes(32),
      serverKey: randomBytes(32),
      peer,
      peerToken: randomBytes(300),
      expiresAt: 1_000_000 + 600_000,
    });
    const answer = (session: Session<ProvenPeer>, meant = reached): void => {
      const told = {
        peer,
        judgement: allowed('not-isolated'),
        rejudge: () => allowed('not-isolated'),
        destination: reached,
        sourceName: { namespace: 'demo', pod: 'client' },
        offered: [session.id, randomBytes(16)],
      };
      const found = { session, window: passes.createWindow() };
      passes.giveInbound('10.0.0.1', reached, meant, [randomBytes(32)], found, {
        ...told,
        keepSource: false,
        carrier: 'syn',
      });
    };
    const [honest, hostile] = [sessionOf(), sessionOf()];
    answer(honest);
    for (let call = 0; call < 70_000; call++) answer(hostile);
    t.equal(passes.remembered, 2);
    t.ok(passes.find(1), 'what went by the pass of another is understood');
    answer(hostile, { ...reached, port: 81 });
    t.equal(passes.remembered, 3, 'another destination has another pass');
    wait(1_000);
    answer(hostile);
    t.equal(passes.remembered, 4, 'and it has one again when that may be gone');
    passes.revoke();
    answer(hostile);
    t.equal(passes.remembered, 5, 'at once after a change');
    t.end();
  },
);
