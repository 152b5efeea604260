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
} from '../handshake/parties.ts';

function twoParties(carrier: 'stream' | 'syn') {
  const world = new World(carrier);
  return { world, a: world.party('a', '10.0.0.1'), b: world.party('b', '10.0.0.2') };
}

function connect(world: World, a: Party, b: Party) {
  const client = new ClientEnd(world.client(a, b.address), world.clock);
  const server = new ServerEnd(world.server(b), world.clock);
  return { client, server, ...converse(client, server) };
}

/** Everybody may know the admission key: what is left of a Hello's protection when an attacker does. */
function readmitted(world: World, hello: Uint8Array): Uint8Array {
  const input = helloAdmissionInput(hello);
  const changed = hello.slice();
  changed.set(mac(world.admissionKey, CONTEXT.admission, [input]), changed.length - MAC_BYTES);
  return changed;
}

for (const carrier of ['stream', 'syn'] as const) {
  t.test(
    `attack: a session id and a token seen on the wire resume nothing without the session key, in handshakes of the ${carrier} carrier`,
    (t) => {
      const { world, a, b } = twoParties(carrier);
      connect(world, a, b);
      const seen = decodeFrame(new ClientEnd(world.client(a, b.address), world.clock).out[0]!);
      if (seen.type !== 'hello') throw new Error('a client starts with a Hello');
      for (const counter of [seen.offers[0]!.counter, 1000n]) {
        const offers = [{ sessionId: seen.offers[0]!.sessionId, counter }];
        const forged = encodeFrame({
          ...seen,
          nonce: randomBytes(32),
          offers,
          binders: [randomBytes(MAC_BYTES)],
        });
        const server = new ServerEnd(world.server(b), world.clock);
        server.receive(readmitted(world, forged));
        t.match(failure(server), { reason: 'proof-invalid', detail: /binder/ });
        t.notOk(established(server));
        t.equal(failure(server)?.peer, undefined, 'nobody was proven');
      }
      t.equal(
        established(connect(world, a, b).client),
        'resumed b',
        'and the honest client resumes all the same',
      );
      t.end();
    },
  );

  t.test(
    `attack: a client lured to itself refuses its own token as the answer of another, in handshakes of the ${carrier} carrier`,
    (t) => {
      const { world, a, b } = twoParties(carrier);
      const client = new ClientEnd(world.client(a, b.address), world.clock);
      const own = new ServerEnd(
        world.server(a, { ownsDestination: () => true, isOwnHello: () => true }),
        world.clock,
      );
      converse(client, own);
      t.equal(failure(client)?.reason, 'own-identity');
      t.notOk(forwards(client));
      t.end();
    },
  );

  t.test(
    `attack: a session does not outlive the trust in the token that it was made with, in handshakes of the ${carrier} carrier`,
    (t) => {
      const { world, a, b } = twoParties(carrier);
      connect(world, a, b);
      for (const reason of ['token-expired', 'token-untrusted', 'foreign-domain'] as const) {
        const refusal = { reason, detail: 'in the meantime' };
        const client = new ClientEnd(world.client(a, b.address), world.clock);
        const server = new ServerEnd(world.server(b, { verify: () => ({ refusal }) }), world.clock);
        converse(client, server);
        t.equal(failure(server)?.reason, reason);
        t.notOk(established(server) ?? established(client));
      }
      t.end();
    },
  );

  t.test(
    `attack: a relay that rewrites the destination gets no application byte out of the client, in handshakes of the ${carrier} carrier`,
    (t) => {
      const { world, a, b } = twoParties(carrier);
      const c = world.party('c', '10.0.0.3');
      const client = new ClientEnd(world.client(a, b.address), world.clock);
      converse(client, new ServerEnd(world.server(c), world.clock), (bytes, _from, index) => {
        const frame = decodeFrame(bytes);
        if (index !== 0 || frame.type !== 'hello') return bytes;
        return readmitted(world, encodeFrame({ ...frame, destination: c.address }));
      });
      t.match(failure(client), { reason: 'proof-invalid', detail: /signature/ });
      t.notOk(forwards(client));
      t.end();
    },
  );

  t.test(`attack: a Hello of another carrier is refused, in handshakes of the ${carrier} carrier`, (t) => {
    const { world, a, b } = twoParties(carrier);
    const server = new ServerEnd(world.server(b), world.clock);
    const other = carrier === 'syn' ? 'stream' : 'syn';
    converse(new ClientEnd(world.client(a, b.address, { carrier: other }), world.clock), server);
    t.match(failure(server), { reason: 'frame-malformed', detail: /carrier/ });
    t.end();
  });
}
