import { randomBytes } from 'node:crypto';
import t from 'tap';
import { MAC_BYTES } from '../../src/handshake/frame-types.ts';
import { decodeFrame, encodeFrame, helloAdmissionInput } from '../../src/handshake/frames.ts';
import { CONTEXT, mac } from '../../src/handshake/key-schedule.ts';
import {
  ClientEnd,
  converse,
  established,
  failure,
  forwards,
  type Party,
  ServerEnd,
  World,
} from './parties.ts';

function twoParties() {
  const world = new World();
  return { world, a: world.party('a', '10.0.0.1'), b: world.party('b', '10.0.0.2') };
}

function firstContact(world: World, a: Party, b: Party) {
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  return { client, server, ...converse(client, server) };
}

t.test(
  'attack: one bit changed anywhere in any frame of a full handshake establishes nothing on the side that receives it',
  (t) => {
    const { world, a, b } = twoParties();
    const lengths = firstContact(world, a, b).frames.map((frame) => frame.length);
    a.clientSessions.clear();
    b.serverSessions.clear();
    for (const [index, length] of lengths.entries()) {
      let passed = 0;
      for (let offset = 0; offset < length; offset++) {
        const client = new ClientEnd(world.client(a, b.address), world.clock);
        const server = new ServerEnd(world.server(b), world.clock);
        converse(client, server, (frame, _from, at) => {
          if (at !== index) return frame;
          const changed = frame.slice();
          changed[offset]! ^= 1 << (offset % 8);
          return changed;
        });
        const receiver = index % 2 === 0 ? server : client;
        if (established(receiver) !== undefined) passed++;
        // What the client's frames say is also what it believes to have said.
        if (index < 2 && established(client) !== undefined && established(server) === undefined) passed++;
        a.clientSessions.clear();
      }
      t.equal(passed, 0, `frame ${index}, ${length} bytes`);
    }
    t.end();
  },
);

t.test('attack: one bit changed anywhere in a resumption establishes nothing resumed', (t) => {
  const { world, a, b } = twoParties();
  firstContact(world, a, b);
  for (const index of [0, 1]) {
    const probe = new ClientEnd(world.client(a, b.address), world.clock);
    const length = converse(probe, new ServerEnd(world.server(b), world.clock)).frames[index]!.length;
    let passed = 0;
    for (let offset = 0; offset < length; offset++) {
      const client = new ClientEnd(world.client(a, b.address), world.clock);
      const server = new ServerEnd(world.server(b), world.clock);
      converse(client, server, (frame, _from, at) => {
        if (at !== index) return frame;
        const changed = frame.slice();
        changed[offset]! ^= 1 << (offset % 8);
        return changed;
      });
      if (established(index === 0 ? server : client) !== undefined) passed++;
    }
    t.equal(passed, 0, `frame ${index}, ${length} bytes`);
  }
  t.end();
});

t.test('attack: a stolen token with another key proves nothing, on either side', (t) => {
  const { world, a, b } = twoParties();
  const thief = { ...world.party('thief', '10.0.0.9'), token: a.token };
  const client = new ClientEnd(world.client(thief, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  converse(client, server);
  t.match(failure(server), { reason: 'proof-invalid' });
  t.equal(failure(server)?.peer, undefined, 'nobody was proven');

  const impostor = { ...world.party('impostor', '10.0.0.2'), token: b.token };
  const victim = new ClientEnd(world.client(a, b.address), world.clock);
  converse(victim, new ServerEnd(world.server(impostor), world.clock));
  t.match(failure(victim), { reason: 'proof-invalid' });
  t.notOk(forwards(victim));
  t.end();
});

t.test('attack: a token that no trusted issuer signed is refused before any key agreement', (t) => {
  const { world, b } = twoParties();
  const forger = world.party('forger', '10.0.0.9', { trusted: false });
  const server = new ServerEnd(world.server(b), world.clock);
  converse(new ClientEnd(world.client(forger, b.address), world.clock), server);
  t.match(failure(server), { reason: 'token-untrusted' });
  t.strictSame(
    server.effects.map((effect) => effect.kind),
    ['send', 'failed'],
  );
  t.end();
});

t.test('attack: a Hello without the admission key costs the server one MAC and no look at the token', (t) => {
  const { world, a, b } = twoParties();
  let looked = 0;
  const context = world.server(b, {
    verify: (token) => {
      looked++;
      return world.verify(token);
    },
  });
  const server = new ServerEnd(context, world.clock);
  converse(new ClientEnd(world.client(a, b.address, { admissionKey: randomBytes(32) }), world.clock), server);
  t.equal(failure(server)?.reason, 'token-untrusted');
  t.equal(looked, 0);
  t.end();
});

t.test('attack: a recorded full handshake replayed is told as a replay', (t) => {
  const { world, a, b } = twoParties();
  const { frames } = firstContact(world, a, b);
  const server = new ServerEnd(world.server(b), world.clock);
  server.receive(frames[0]!);
  t.equal(failure(server)?.reason, 'replay');

  const forgetful = new ServerEnd(
    world.server({ ...b, recentNonces: world.party('x', '::1').recentNonces }),
    world.clock,
  );
  forgetful.receive(frames[0]!);
  forgetful.receive(frames[2]!);
  t.equal(
    failure(forgetful)?.reason,
    'proof-invalid',
    'and a restarted server asks for a proof that cannot be had',
  );
  t.end();
});

t.test('attack: a recorded resumption replayed is refused, however often', (t) => {
  const { world, a, b } = twoParties();
  firstContact(world, a, b);
  const { frames } = firstContact(world, a, b);
  for (let round = 0; round < 3; round++) {
    const server = new ServerEnd(world.server(b), world.clock);
    server.receive(frames[0]!);
    t.equal(failure(server)?.reason, 'replay');
  }
  t.end();
});

t.test(
  'attack: a recorded resumption of a server that was restarted leads to a proof that the attacker cannot make',
  (t) => {
    const { world, a, b } = twoParties();
    firstContact(world, a, b);
    const { frames } = firstContact(world, a, b);
    b.serverSessions.clear();
    const server = new ServerEnd(world.server(b), world.clock);
    server.receive(frames[0]!);
    t.notOk(established(server));
    t.strictSame(decodeFrame(server.out[0]!).type, 'reply');
    t.end();
  },
);

t.test('attack: a handshake relayed to another server is refused there', (t) => {
  const { world, a, b } = twoParties();
  const c = world.party('c', '10.0.0.3');
  const server = new ServerEnd(world.server(c), world.clock);
  converse(new ClientEnd(world.client(a, b.address), world.clock), server);
  t.match(failure(server), { reason: 'wrong-destination', detail: /10\.0\.0\.2/ });
  t.end();
});

t.test(
  'attack: a relay that rewrites the destination has broken the admission MAC, and with that key the signature',
  (t) => {
    const { world, a, b } = twoParties();
    const c = world.party('c', '10.0.0.3');
    for (const knowsAdmissionKey of [false, true]) {
      const client = new ClientEnd(world.client(a, b.address), world.clock);
      const server = new ServerEnd(world.server(c), world.clock);
      converse(client, server, (bytes, _from, index) => {
        const frame = decodeFrame(bytes);
        if (index !== 0 || frame.type !== 'hello') return bytes;
        const changed = encodeFrame({ ...frame, destination: c.address });
        if (knowsAdmissionKey) {
          const input = helloAdmissionInput(changed);
          changed.set(mac(world.admissionKey, CONTEXT.admission, [input]), changed.length - MAC_BYTES);
        }
        return changed;
      });
      t.notOk(established(server));
      t.notOk(established(client));
      t.equal(
        failure(knowsAdmissionKey ? client : server)?.reason,
        knowsAdmissionKey ? 'proof-invalid' : 'token-untrusted',
      );
    }
    t.end();
  },
);

t.test("attack: a client's own Hello reflected to it is refused in every way", (t) => {
  const { world, a, b } = twoParties();
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const own = new ServerEnd(world.server(a), world.clock);
  const hello = client.out.shift()!;
  own.receive(hello);
  t.equal(failure(own)?.reason, 'wrong-destination');

  const lured = new ClientEnd(world.client(a, a.address), world.clock);
  const server = new ServerEnd(world.server(a), world.clock);
  converse(lured, server);
  t.equal(
    failure(server)?.reason,
    'own-identity',
    'also when its own address was meant, unless it is its own call',
  );

  client.receive(hello);
  t.equal(failure(client)?.reason, 'frame-malformed', 'and a Hello is no Reply');
  t.end();
});

t.test("handshake: a pod's call to itself through a Service address completes", (t) => {
  const { world, a } = twoParties();
  const client = new ClientEnd(world.client(a, a.address, { toSelf: true }), world.clock);
  const server = new ServerEnd(world.server(a, { isOwnHello: () => true }), world.clock);
  converse(client, server);
  t.equal(established(client), 'full a');
  t.equal(established(server), 'full a');
  t.end();
});

t.test(
  'attack: a refusal that nobody signed ends a connection as such and cannot pass for the verdict of policy',
  (t) => {
    const { world, a, b } = twoParties();
    const forged = encodeFrame({ type: 'refusal', code: 'policy', mac: new Uint8Array(0) });
    const early = new ClientEnd(world.client(a, b.address), world.clock);
    early.receive(forged);
    t.match(failure(early), { reason: 'refused-by-peer', detail: 'policy (not authenticated)' });

    const late = new ClientEnd(world.client(a, b.address), world.clock);
    converse(late, new ServerEnd(world.server(b), world.clock), (bytes, from, index) =>
      from === 'server' && index === 3 ? forged : bytes,
    );
    t.equal(failure(late)?.reason, 'proof-invalid');
    t.end();
  },
);

t.test('attack: a frame of one handshake means nothing in another', (t) => {
  const { world, a, b } = twoParties();
  const other = firstContact(world, a, b).frames;
  a.clientSessions.clear();
  for (const index of [1, 2, 3]) {
    const client = new ClientEnd(world.client(a, b.address), world.clock);
    const server = new ServerEnd(world.server(b), world.clock);
    converse(client, server, (bytes, _from, at) => (at === index ? other[index]! : bytes));
    t.notOk(established(index === 2 ? server : client), `frame ${index}`);
    a.clientSessions.clear();
  }
  t.end();
});

t.test(
  'attack: an ephemeral key of small order, signed by an honest-looking peer, yields no session',
  (t) => {
    const { world, a, b } = twoParties();
    const zero = new Uint8Array(32);
    const context = world.client(a, b.address);
    const client = new ClientEnd(
      { ...context, randomness: { ...context.randomness, publicKey: zero } },
      world.clock,
    );
    const server = new ServerEnd(world.server(b), world.clock);
    converse(client, server);
    t.match(failure(server), { reason: 'proof-invalid', detail: /small order/ });

    const evil = world.server(b);
    const victim = new ClientEnd(world.client(a, b.address), world.clock);
    // The server's own key agreement is left intact: only what it announces and signs is the zero point.
    const reply = new ServerEnd(
      { ...evil, randomness: { ...evil.randomness, publicKey: zero } },
      world.clock,
    );
    converse(victim, reply);
    t.match(failure(victim), { reason: 'proof-invalid', detail: /small order/ });
    t.end();
  },
);

t.test('attack: an expired token neither resumes nor handshakes', (t) => {
  const world = new World();
  const a = world.party('a', '10.0.0.1', { expiresIn: 30 });
  const b = world.party('b', '10.0.0.2');
  firstContact(world, a, b);
  const before = world.clock;
  world.clock = { monotonic: before.monotonic + 31_000, epochSeconds: before.epochSeconds + 31 };
  const server = new ServerEnd(world.server(b), world.clock);
  converse(new ClientEnd(world.client(a, b.address), world.clock), server);
  t.equal(failure(server)?.reason, 'token-expired');
  t.end();
});

t.test('attack: a stripped encryption wish breaks the handshake', (t) => {
  const { world, a, b } = twoParties();
  const client = new ClientEnd(world.client(a, b.address, { wishes: { encryption: 'wanted' } }), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  converse(client, server, (bytes, _from, index) => {
    const frame = decodeFrame(bytes);
    if (index !== 0 || frame.type !== 'hello') return bytes;
    const changed = encodeFrame({ ...frame, wishes: { encryption: 'none' } });
    // The attacker is given the admission key: it is a filter and proves nothing.
    changed.set(
      mac(world.admissionKey, CONTEXT.admission, [helloAdmissionInput(changed)]),
      changed.length - MAC_BYTES,
    );
    return changed;
  });
  t.notOk(established(client) ?? established(server));
  t.equal(failure(client)?.reason, 'proof-invalid');
  t.end();
});
