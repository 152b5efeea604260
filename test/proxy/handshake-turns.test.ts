/** How many handshakes others can make the main thread do at once. */
import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { drawRandomness } from '../../src/handshake/ephemeral.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { HandshakeTurns } from '../../src/proxy/handshake-turns.ts';
import { End } from './simulated-socket.ts';
import { Simulation } from './simulation.ts';

/** Turns whose clock stands still until somebody works. */
function world() {
  let now = 0;
  const turns = new HandshakeTurns(() => now);
  const done: string[] = [];
  const work = (source: string): void => {
    done.push(source);
    now++; // a handshake takes a millisecond
  };
  const call = (source: string) => {
    const leave = turns.enter(source, () => work(source));
    if (leave === undefined) work(source);
    return leave;
  };
  return { turns, done, call };
}

t.test(
  'handshake turns: of a thousand at once a turn does sixteen, and nobody waits behind a crowd',
  async (t) => {
    const { done, call } = world();
    for (let count = 0; count < 1_000; count++) call('crowd');
    t.equal(done.length, 16, 'the others wait');
    call('somebody');
    t.equal(done.length, 16, 'nobody goes before those who wait');
    await turn();
    t.ok(done.slice(16, 18).includes('somebody'), 'each source has its turn');
    for (let before = 0; before < done.length; await turn()) {
      t.ok(done.length - before <= 32, 'and no turn is long');
      before = done.length;
    }
    t.equal(done.length, 1_001);
  },
);

t.test(
  'handshake turns: few at once go at once; who has left is not called; the next turn begins anew',
  async (t) => {
    const { done, call } = world();
    for (let round = 0; round < 3; round++) {
      for (let count = 0; count < 16; count++) t.equal(call('a'), undefined);
      await turn();
    }
    for (let count = 0; count < 16; count++) call('a');
    const leaves = ['b', 'b', 'c'].map((source) => call(source)!);
    done.length = 0;
    for (const leave of [...leaves.slice(1), leaves[1]!]) leave();
    await turn();
    t.strictSame(done, ['b']);
    await turn();
    t.equal(call('c'), undefined);
  },
);

/** `count` callers at one address, each with a Hello that the server has to answer in full. */
function crowd(simulation: Simulation, from: string, token: Uint8Array, to: string, count: number): End[] {
  const { publicKey: ephemeral } = drawRandomness();
  return Array.from({ length: count }, () => {
    const [near, far] = End.pair();
    simulation.arrive({ address: from, port: 40_000 }, { address: to, port: 80 }, far, true);
    near.write(
      buildHello({
        wishes: { encryption: 'none' },
        carrier: 'stream',
        nonce: randomBytes(32),
        ephemeral,
        destination: { address: to, port: 80 },
        cookie: new Uint8Array(0),
        token,
        offers: [],
        admissionKey: simulation.admissionKey,
      }),
    );
    return near;
  });
}

t.test(
  'attack: Hellos of one address, all at once, keep nobody waiting, and who hangs up is not answered',
  async (t) => {
    const simulation = new Simulation();
    const [server, hostile] = [simulation.pod('db', { app: 'db' }), simulation.pod('evil', { app: 'evil' })];
    const friend = simulation.pod('web', { app: 'web' });
    simulation.publish();
    t.teardown(() => Promise.all([server, hostile, friend].map(({ proxy }) => proxy!.close())));
    const { token } = hostile.credentials!;
    const ends = crowd(simulation, hostile.address, token, server.address, 240);
    const [other] = crowd(simulation, friend.address, friend.credentials!.token, server.address, 1);
    const answered = (): number => ends.filter(({ unread }) => unread.length > 0).length;
    let before = -1;
    let last: End[] = [];
    other!.onChange = () => {
      other!.onChange = undefined;
      before = answered();
      last = ends.filter(({ unread }) => unread.length === 0).slice(-40);
      for (const end of last) end.reset();
    };
    await simulation.until(() => before >= 0);
    t.ok(before < 180, `${before} of 240 were before one other`);
    await simulation.until(() => answered() >= 200);
    await simulation.settle();
    t.equal(last.length, 40);
    t.ok(
      last.some(({ unread }) => unread.length === 0),
      'who is gone when his turn comes costs nothing',
    );
    t.strictSame(server.defects, []);
    const aborted = server.records.filter(({ judgement }) => judgement.reason === 'handshake-aborted');
    t.equal(aborted.length, last.length);
  },
);
