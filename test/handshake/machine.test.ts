import fc from 'fast-check';
import t from 'tap';
import { decodeFrame, encodeFrame } from '../../src/handshake/frames.ts';
import { runs } from '../support/effort.ts';
import { drawRandomness } from '../../src/handshake/ephemeral.ts';
import { NODE_CURVES } from '../../src/lib/node-curves.ts';
import { ALLOW, ClientEnd, converse, established, failure, forwards, ServerEnd, World } from './parties.ts';

const DENY = { allow: false, reason: 'policy-denied', detail: 'no rule' } as const;

t.test('handshake: a first contact proves both sides in four frames', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  const { frames } = converse(client, server);
  t.equal(established(client), 'full b');
  t.equal(established(server), 'full a');
  t.strictSame(
    frames.map((frame) => decodeFrame(frame).type),
    ['hello', 'reply', 'proof', 'verdict'],
  );
  t.end();
});

t.test('handshake: the next connection resumes in two frames, with fresh nonces', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  converse(
    new ClientEnd(world.client(a, b.address), world.clock),
    new ServerEnd(world.server(b), world.clock),
  );
  for (let round = 0; round < 3; round++) {
    const client = new ClientEnd(world.client(a, b.address), world.clock);
    const server = new ServerEnd(world.server(b), world.clock);
    const { frames } = converse(client, server);
    t.equal(established(client), 'resumed b');
    t.equal(established(server), 'resumed a');
    t.equal(frames.length, 2);
  }
  t.end();
});

t.test(
  'handshake: behind one address with three servers a session that another server holds costs no further frame',
  (t) => {
    const world = new World();
    const client = world.party('client', '10.0.0.1');
    const replicas = ['r1', 'r2', 'r3'].map((name) => world.party(name, '10.96.0.1'));
    const seen: string[] = [];
    for (const index of [0, 1, 0, 2, 1, 0, 2]) {
      const replica = replicas[index]!;
      const one = new ClientEnd(world.client(client, replica.address), world.clock);
      const { frames } = converse(one, new ServerEnd(world.server(replica), world.clock));
      seen.push(`${established(one)} ${frames.length}`);
    }
    t.strictSame(seen, [
      'full r1 4',
      'full r2 4',
      'resumed r1 2',
      'full r3 4',
      'resumed r2 2',
      'resumed r1 2',
      'resumed r3 2',
    ]);
    t.end();
  },
);

t.test('handshake: the client lets no application byte go before the server has proven itself', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  t.notOk(forwards(client));
  server.receive(client.out.shift()!);
  t.notOk(forwards(client));
  client.receive(server.out.shift()!);
  t.ok(forwards(client));
  t.notOk(established(client));
  t.notOk(forwards(server), 'nor does the server before the proof');
  t.end();
});

t.test('handshake: a denial by the server is told under its key and has its reason at home', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock, () => DENY);
  converse(client, server);
  t.match(failure(server), { reason: 'policy-denied', peer: { name: 'a' } });
  t.match(failure(client), { reason: 'refused-by-peer', detail: 'policy', peer: { name: 'b' } });
  t.notOk(established(client) ?? established(server));
  t.end();
});

t.test('handshake: policy is judged for a resumed connection too', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  converse(
    new ClientEnd(world.client(a, b.address), world.clock),
    new ServerEnd(world.server(b), world.clock),
  );
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock, () => DENY);
  converse(client, server);
  t.match(failure(server), { reason: 'policy-denied', peer: { name: 'a' } });
  t.match(failure(client), { reason: 'refused-by-peer', detail: 'policy', peer: { name: 'b' } });
  t.end();
});

t.test('handshake: a denial by the client is told to the server under its key', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const wrongPeer = { allow: false, reason: 'wrong-peer', detail: 'not an endpoint' } as const;
  const client = new ClientEnd(world.client(a, b.address), world.clock, () => wrongPeer);
  const server = new ServerEnd(world.server(b), world.clock);
  converse(client, server);
  t.match(failure(client), { reason: 'wrong-peer', peer: { name: 'b' } });
  t.match(failure(server), { reason: 'refused-by-peer', detail: 'identity' });
  t.notOk(forwards(client));
  t.end();
});

t.test('handshake: a session ends with the earlier of the two tokens, and after ten minutes', (t) => {
  for (const [expiresIn, after, expected] of [
    [14_400, 599, 'resumed b'],
    [14_400, 601, 'full b'],
    [60, 59, 'resumed b'],
    [60, 61, undefined],
  ] as const) {
    const world = new World();
    const a = world.party('a', '10.0.0.1', { expiresIn });
    const b = world.party('b', '10.0.0.2');
    converse(
      new ClientEnd(world.client(a, b.address), world.clock),
      new ServerEnd(world.server(b), world.clock),
    );
    world.clock = {
      monotonic: world.clock.monotonic + after * 1000,
      epochSeconds: world.clock.epochSeconds + after,
    };
    const client = new ClientEnd(world.client(a, b.address), world.clock);
    converse(client, new ServerEnd(world.server(b), world.clock));
    t.equal(established(client), expected, `${expiresIn} s of token, ${after} s later`);
  }
  t.end();
});

t.test('handshake: a renewed client token is proven in full again', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  converse(
    new ClientEnd(world.client(a, b.address), world.clock),
    new ServerEnd(world.server(b), world.clock),
  );
  const renewed = { ...world.party('a', '10.0.0.1'), clientSessions: a.clientSessions };
  const client = new ClientEnd(world.client(renewed, b.address), world.clock);
  converse(client, new ServerEnd(world.server(b), world.clock));
  t.equal(established(client), 'full b');
  t.end();
});

t.test('handshake: encryption that is required is refused by either side, never dropped', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const required = { wishes: { encryption: 'required' } } as const;
  const client = new ClientEnd(world.client(a, b.address, required), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  converse(client, server);
  t.equal(failure(server)?.reason, 'encryption-unavailable');
  t.match(failure(client), { reason: 'refused-by-peer', detail: /^encryption/ });

  const client2 = new ClientEnd(world.client(a, b.address), world.clock);
  converse(client2, new ServerEnd(world.server(b, required), world.clock));
  t.equal(failure(client2)?.reason, 'encryption-unavailable');
  t.end();
});

t.test('handshake: no bytes bring a machine to establish or to throw', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const frame = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc
      .tuple(fc.integer({ min: 0, max: 8 }), fc.uint8Array({ maxLength: 400 }))
      .map(([type, body]) =>
        Uint8Array.of(
          0x9c,
          0x43,
          0x54,
          0x53,
          0x47,
          0x4e,
          13,
          10,
          1,
          type,
          body.length >> 8,
          body.length & 255,
          ...body,
        ),
      ),
  );
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 4 }), (frames) => {
      const client = new ClientEnd(world.client(a, b.address), world.clock);
      const server = new ServerEnd(world.server(b), world.clock);
      for (const bytes of frames) {
        client.receive(bytes);
        server.receive(bytes);
      }
      return established(client) === undefined && established(server) === undefined && !forwards(client);
    }),
    { numRuns: runs(300) },
  );
  t.end();
});

t.test('handshake: what a machine says after its end is nothing', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
  const server = new ServerEnd(world.server(b), world.clock);
  server.receive(Uint8Array.of(1, 2, 3));
  const said = server.effects.length;
  server.receive(new ClientEnd(world.client(a, b.address), world.clock, () => ALLOW).out[0]!);
  t.equal(server.effects.length, said);
  t.end();
});

t.test('frames: every frame of a handshake decodes to what encodes to the same bytes', (t) => {
  const world = new World();
  const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', 'fd00::2')];
  for (let round = 0; round < 2; round++) {
    const { frames } = converse(
      new ClientEnd(world.client(a, b.address), world.clock),
      new ServerEnd(world.server(b), world.clock),
    );
    for (const bytes of frames) {
      const frame = decodeFrame(bytes);
      if (frame.type === 'error') t.fail(frame.detail);
      else t.strictSame(Buffer.from(encodeFrame(frame)), Buffer.from(bytes), frame.type);
    }
  }
  t.end();
});

t.test(
  'randomness: an ephemeral key is drawn when it is asked for, once for each handshake, and never by a server that resumes',
  (t) => {
    let drawn = 0;
    const draw = () =>
      drawRandomness(() => {
        drawn++;
        return NODE_CURVES.generateEphemeral();
      });
    const one = draw();
    t.equal(drawn, 0);
    t.equal(one.publicKey, one.publicKey);
    t.ok(one.privateKey === one.privateKey && drawn === 1);
    t.notSame(draw().publicKey, one.publicKey);

    const world = new World();
    const [a, b] = [world.party('a', '10.0.0.1'), world.party('b', '10.0.0.2')];
    for (const [kind, expected] of [
      ['full a', 1],
      ['resumed a', 0],
    ] as const) {
      drawn = 0;
      const server = new ServerEnd(world.server(b, { randomness: draw() }), world.clock);
      converse(new ClientEnd(world.client(a, b.address), world.clock), server);
      t.equal(established(server), kind);
      t.equal(drawn, expected, kind);
    }
    t.end();
  },
);
