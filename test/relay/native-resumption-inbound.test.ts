import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import { buildHello, type HelloFacts } from '../../src/handshake/hello.ts';
import type { Effect } from '../../src/handshake/outcome.ts';
import { startServer, stepServer } from '../../src/handshake/server.ts';
import { ServerSessions } from '../../src/handshake/sessions.ts';
import type { Name } from '../handshake/parties.ts';
import { runs } from '../support/effort.ts';
import { ResumptionRig, until } from '../support/resumption-rig.ts';

const REPLY_BYTES = 78;

async function rigFor(t: Test): Promise<ResumptionRig> {
  const rig = new ResumptionRig();
  t.teardown(() => rig.stop());
  await rig.start('inbound');
  return rig;
}

function helloOf(rig: ResumptionRig, changes: Partial<HelloFacts> & { counter?: bigint } = {}): Uint8Array {
  return buildHello({
    wishes: { encryption: 'none' },
    carrier: 'stream',
    nonce: randomBytes(32),
    ephemeral: randomBytes(32),
    destination: rig.server.address,
    cookie: new Uint8Array(0),
    token: rig.client.token,
    offers: rig.offers(changes.counter ?? 1n),
    admissionKey: rig.world.admissionKey,
    ...changes,
  });
}

/** Sends a Hello. @returns the Reply of the data thread, or undefined when it asks TypeScript */
async function send(rig: ResumptionRig, hello: Uint8Array, from?: string): Promise<Buffer | undefined> {
  const asked = rig.accepts.length;
  const client = await rig.connect(hello, from);
  await until(() => client.received.length >= REPLY_BYTES || rig.accepts.length > asked, 'an answer');
  const reply = rig.accepts.length > asked ? undefined : client.received;
  client.socket.destroy();
  return reply;
}

/** Sends a Hello that a pass is for. @returns the Reply of the data thread */
async function answered(rig: ResumptionRig, hello: Uint8Array): Promise<Buffer> {
  const client = await rig.connectByPass(hello);
  const reply = await client.has(REPLY_BYTES);
  client.socket.destroy();
  return reply;
}

t.test('resumption, inbound: a Hello by a pass is answered, relayed and told once', async (t) => {
  const rig = await rigFor(t);
  const pass = rig.passInbound();
  const hello = helloOf(rig);
  const client = await rig.connectByPass(Buffer.concat([hello, Buffer.from('request')]));
  const reply = (await client.has(REPLY_BYTES)).subarray(0, REPLY_BYTES);
  const expected = mac(rig.session.serverKey, CONTEXT.resumed, [hello, reply.subarray(0, -16)]);
  t.strictSame(reply.subarray(-16), Buffer.from(expected), 'the MAC that the client expects');
  const server = await rig.served(0);
  t.equal((await server.has(7)).toString(), 'request', 'and not a byte of the preamble');
  server.socket.write('answer');
  t.equal((await client.has(REPLY_BYTES + 6)).subarray(REPLY_BYTES).toString(), 'answer');
  await until(() => rig.passed.length === 1, 'a report');
  const [told] = rig.passed;
  t.match(told, { pass, peer: { address: '127.0.0.1', port: client.socket.localPort }, ending: undefined });
  t.ok(
    told!.handshakeMs > 0 &&
      told!.startedAt <= performance.now() &&
      told!.startedAt > performance.now() - 30_000,
  );
  t.strictSame(rig.dataPath.progress(told!.id), { bytesIn: 7, bytesOut: 6 });
  client.socket.end();
  server.socket.end();
  await until(() => rig.ended.size === 1, 'the end');
  t.strictSame(rig.ended.get(told!.id), { cause: 'end', bytesIn: 7, bytesOut: 6 });
  t.notOk(
    rig.accepts.some(({ id }) => id === told!.id),
    'TypeScript was not asked',
  );
});

t.test('resumption, inbound: a short connection is told once, as a whole', async (t) => {
  const rig = await rigFor(t);
  rig.upstream.on('connection', (socket) => socket.end('bye'));
  rig.passInbound();
  const client = await rig.connectByPass(helloOf(rig));
  client.socket.end();
  await client.has(REPLY_BYTES + 3);
  await until(() => rig.passed.length === 1, 'a report');
  // It may have been told while it was still open, where the machine is slow.
  await until(() => rig.passed[0]!.ending !== undefined || rig.ended.size === 1, 'the end');
  const ending = rig.passed[0]!.ending ?? rig.ended.get(rig.passed[0]!.id);
  t.match(ending, { cause: 'end', bytesIn: 0, bytesOut: 3 });
});

t.test(
  'resumption, inbound: of many, short ones and open ones, each is told once and ends once',
  async (t) => {
    const rig = await rigFor(t);
    rig.passInbound();
    const clients = [];
    for (let index = 0; index < 60; index++) {
      const client = await rig.connectByPass(helloOf(rig, { counter: BigInt(index) }));
      // Some end before they can be told, some after; now and then somebody wants to know all.
      if (index % 3 === 0) client.socket.resetAndDestroy();
      else clients.push(client);
      if (index % 7 === 0) rig.dataPath.resumption.tell();
    }
    await until(() => rig.passed.length === 60, 'news of all, though most are open');
    for (const { socket } of clients) socket.resetAndDestroy();
    await until(() => wholes() + rig.ended.size >= 60, 'all ends');
    rig.dataPath.resumption.tell();
    t.equal(new Set(rig.passed.map(({ id }) => id)).size, 60, 'none was told twice');
    t.equal(wholes() + rig.ended.size, 60, 'no end twice');
    for (const { id, ending } of rig.passed) t.equal(rig.ended.has(id), ending === undefined, 'one end each');

    function wholes(): number {
      return rig.passed.filter(({ ending }) => ending !== undefined).length;
    }
  },
);

t.test('resumption, inbound: of many passes for one place the newest are kept', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  t.ok(await answered(rig, helloOf(rig, { counter: 1n })));
  for (let other = 0; other < 15; other++)
    rig.passInbound({ session: { ...rig.session, id: randomBytes(16) } });
  t.ok(await answered(rig, helloOf(rig, { counter: 2n })), 'the oldest of sixteen');
  rig.passInbound({ session: { ...rig.session, id: randomBytes(16) } });
  t.equal(
    await send(rig, helloOf(rig, { counter: 3n })),
    undefined,
    'of seventeen it is TypeScript who is asked',
  );
  rig.passInbound();
  t.ok(await answered(rig, helloOf(rig, { counter: 4n })), 'a new one counts');
});

t.test('resumption, inbound: who resets at once is told by its address all the same', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  const ports = new Set<number>();
  const [rounds, atOnce] = [20, 40];
  for (let round = 0; round < rounds; round++) {
    const clients = await Promise.all(Array.from({ length: atOnce }, () => rig.connect()));
    for (const { socket } of clients) ports.add(socket.localPort!);
    const hellos = clients.map((_, index) => helloOf(rig, { counter: BigInt(round * atOnce + index) }));
    // Resets come while the thread is busy with the Hellos of others.
    clients.forEach(({ socket }, index) => socket.write(hellos[index]!));
    for (const { socket } of clients) socket.resetAndDestroy();
  }
  await until(() => rig.passed.length + rig.accepts.length === rounds * atOnce, 'news of all');
  for (const { peer } of rig.passed) {
    if (peer.address !== '127.0.0.1' || !ports.has(peer.port)) t.fail(`told as ${peer.address}:${peer.port}`);
  }
  t.ok(rig.passed.length > 0, `${rig.passed.length} went by the pass`);
});

t.test('resumption, inbound: what was established is told at once when asked for', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  const client = await rig.connectByPass(helloOf(rig));
  await client.has(REPLY_BYTES);
  // The Reply goes out a moment before the thread takes note of it.
  await until(() => {
    rig.dataPath.resumption.tell();
    return rig.passed.length > 0;
  }, 'the news');
  rig.dataPath.resumption.tell();
  t.equal(rig.passed.length, 1, 'and once');
});

t.test('resumption, inbound: a connection that went by a pass is cut like any other', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  const client = await rig.connectByPass(helloOf(rig));
  await client.has(REPLY_BYTES);
  await until(() => rig.passed.length === 1, 'a report');
  rig.dataPath.reset(rig.passed[0]!.id);
  await until(() => client.over && rig.ended.size === 1, 'the cut');
  t.match([...rig.ended.values()], [{ cause: 'reset' }]);
});

t.test('resumption, inbound: what no pass foresees is asked, with every byte still there', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  const hello = helloOf(rig, { offers: [] });
  await rig.connect(hello);
  await until(() => rig.accepts.length === 1, 'the question');
  t.equal(rig.accepts[0]!.accepted.begun, undefined);
  rig.dataPath.readFrame(rig.accepts[0]!.id, 'client', 5_120);
  await until(() => rig.frames.length === 1, 'the frame');
  t.strictSame(Buffer.from(rig.frames[0]!), Buffer.from(hello));
  await rig.connect();
  await until(() => rig.accepts.length === 2, 'the question about somebody who says nothing');
});

t.test('resumption, inbound: attacks are never answered by a pass', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound();
  const seen = helloOf(rig, { counter: 7n });
  t.ok(await answered(rig, seen));
  t.notOk(await send(rig, seen), 'the same Hello again');
  t.notOk(await send(rig, helloOf(rig, { counter: 7n })), 'its counter again');
  t.equal(rig.window.use(7n), 'seen', 'TypeScript knows the counter, too');
  t.equal(rig.window.use(8n), 'fresh');
  t.notOk(await send(rig, helloOf(rig, { counter: 8n })), 'a counter that TypeScript has spent');

  for (const place of [-1, -16, -17, -32]) {
    const forged = Buffer.from(helloOf(rig, { counter: 100n }));
    forged[forged.length + place]! ^= 1;
    t.notOk(await send(rig, forged), `a MAC with a bit turned, ${place}`);
  }
  const { session } = rig.offers(0n)[0]!;
  const other = { ...session, clientKey: session.serverKey };
  t.notOk(
    await send(rig, helloOf(rig, { offers: [{ session: other, counter: 101n }] })),
    "the other direction's key",
  );
  const elsewhere = { address: '10.0.0.3', port: 80 };
  t.notOk(
    await send(rig, helloOf(rig, { destination: elsewhere, counter: 102n })),
    'for another destination',
  );
  const otherPort = { ...rig.server.address, port: 81 };
  t.notOk(await send(rig, helloOf(rig, { destination: otherPort, counter: 103n })), 'for another port');
  t.notOk(await send(rig, helloOf(rig, { counter: 104n }), '127.0.0.2'), 'from another address');
  t.ok(
    await answered(rig, helloOf(rig, { counter: 105n })),
    'none of which used a counter up or hurt the pass',
  );
});

t.test('resumption, inbound: a pass that was taken back, or is over, answers nobody', async (t) => {
  const rig = await rigFor(t);
  rig.passInbound({ lifetimeMs: 1 });
  const until1 = performance.now() + 2;
  await until(() => performance.now() > until1, 'the end of the pass');
  t.notOk(await send(rig, helloOf(rig, { counter: 1n })), 'over');
  rig.passInbound();
  rig.dataPath.resumption.revoke();
  t.notOk(await send(rig, helloOf(rig, { counter: 2n })), 'taken back');
  rig.passInbound();
  t.ok(await answered(rig, helloOf(rig, { counter: 3n })), 'given anew');
  t.notOk(await send(rig, helloOf(rig, { counter: 3n })), 'and the window has outlived all of that');
});

t.test(
  'resumption, inbound: an application that is not there is left to TypeScript, the counter spent',
  async (t) => {
    const rig = await rigFor(t);
    rig.upstream.close();
    rig.passInbound();
    const hello = helloOf(rig, { counter: 5n });
    t.notOk(await send(rig, hello));
    t.strictSame(Buffer.from(rig.accepts[0]!.accepted.begun!.hello), Buffer.from(hello));
    t.equal(rig.window.use(5n), 'seen');
  },
);

t.test(
  'resumption, inbound: data thread and TypeScript together do what TypeScript alone does',
  async (t) => {
    const rig = await rigFor(t);
    rig.passInbound();
    const oracle = new ServerSessions<Name>();
    const { session } = rig.sessions.find(rig.session.id, rig.world.clock.monotonic)!;
    oracle.add(session);
    const stranger = { ...session, id: randomBytes(16) };
    const step = (bytes: Uint8Array, sessions: ServerSessions<Name>): string => {
      const context = rig.world.server(rig.server, { sessions });
      const { effects } = stepServer<Name>(startServer(), { kind: 'frame', bytes }, context, rig.world.clock);
      return effects.map(nameOf).join();
    };
    let asked = 0;
    let byPass = 0;
    const hellos = fc.record({
      wish: mostly('none', 'wanted', 'required'),
      carrier: mostly('stream', 'syn'),
      destination: mostly(
        rig.server.address,
        { address: '10.0.0.2', port: 81 },
        { address: '10.0.0.9', port: 80 },
        { address: 'fd00::2', port: 80 },
      ),
      token: mostly(rig.client.token, rig.server.token, randomBytes(300)),
      offers: mostly([session], [stranger, session], [stranger], []),
      counter: fc.oneof(
        { weight: 12, arbitrary: fc.bigInt({ min: 0n, max: 2_000n }) },
        { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 40_000n }) },
        { weight: 1, arbitrary: fc.constantFrom(2n ** 53n, 2n ** 64n - 1n) },
      ),
      admissionKey: mostly(rig.world.admissionKey, randomBytes(32)),
      flip: fc.option(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 7 })), { freq: 1 }),
    });
    await fc.assert(
      fc.asyncProperty(hellos, async ({ wish, carrier, offers, counter, flip, ...facts }) => {
        const hello = helloOf(rig, {
          ...facts,
          wishes: { encryption: wish } as HelloFacts['wishes'],
          carrier: carrier as HelloFacts['carrier'],
          offers: offers.map((one) => ({ session: one, counter })),
        });
        const at = flip === null ? 10 : flip[0] % hello.length;
        // A changed length is another test: the frame would not be whole.
        if (flip !== null && at !== 10 && at !== 11) hello[at]! ^= 1 << flip[1];
        const expected = step(hello, oracle);
        const reply = await send(rig, hello);
        if (reply === undefined) asked++;
        else byPass++;
        const actual = reply === undefined ? step(hello, rig.sessions) : 'judge resumed';
        if (actual !== expected) throw new Error(`${actual} instead of ${expected}`);
      }),
      { numRuns: runs(400) },
    );
    t.ok(byPass > 20, `${byPass} were answered`);
    t.ok(asked > 20, `${asked} were asked`);
  },
);

function nameOf(effect: Effect<Name>): string {
  if (effect.kind === 'judge') return `judge ${effect.handshake}`;
  return effect.kind === 'failed' ? `failed ${effect.reason}` : effect.kind;
}

/** What a pass foresees, nine times out of ten. */
function mostly<T>(right: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof(
    { weight: 9, arbitrary: fc.constant(right) },
    { weight: 1, arbitrary: fc.constantFrom(...others) },
  );
}
