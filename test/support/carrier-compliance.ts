import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import type { Test } from 'tap';
import { FRAME_TYPE } from '../../src/handshake/frame-types.ts';
import type { DenyReason } from '../../src/observe/reasons.ts';
import { allowFrom, noCalls } from '../nfqueue/policies.ts';
import type { SimulatedPod, Simulation } from '../proxy/simulation.ts';

/** One call of an application, over whatever carrier it went. */
export interface CarriedCall {
  /** What the server's application has read of it. */
  served(): string;
  /** What the client's application has read. */
  heard(): string;
  /** Whether the client's application has been reset. */
  isReset(): boolean;
  /** The client's application says more. */
  say(text: string): Promise<void>;
}

/** A message between two sidecars, by the name of its type. */
export interface CarriedMessage {
  readonly from: 'client' | 'server';
  readonly type: keyof typeof FRAME_TYPE;
  readonly bytes: Uint8Array;
}

/** Two enrolled pods (`web` with app=web and `db` with app=db), one without a sidecar (`plain`, app=web), and the carrier between them. */
export interface CarrierWorld {
  readonly simulation: Simulation;
  readonly client: SimulatedPod;
  readonly server: SimulatedPod;
  readonly plain: SimulatedPod;
  /** Every message that was carried. */
  readonly messages: CarriedMessage[];
  /** Changes messages on their way. */
  tamper: ((message: CarriedMessage) => Uint8Array) | undefined;
  /** From here on the network leads calls of this address to the server, as a relaying attacker does. */
  lead(address: string): void;
  /** A call of the client's application to port 80, until the server's application has read of it or the client was reset. */
  call(options?: { readonly to?: string; readonly says?: string }): Promise<CarriedCall>;
  /** A call of the pod without a sidecar to the server. */
  callOfPlain(says: string): Promise<CarriedCall>;
  /** Says all that the client's sidecar and application said in the last call once more, from another port. */
  replay(): Promise<CarriedCall>;
  close(): Promise<void>;
}

/** Makes a world. @param prepare changes it before any source says anything */
export type MakeWorld = (
  prepare: (pods: { client: SimulatedPod; server: SimulatedPod }) => void,
) => CarrierWorld;

/** The name of a message's type: the tenth byte (`docs/protocol.md` section 1). */
export function typeOfMessage(bytes: Uint8Array): keyof typeof FRAME_TYPE {
  const found = Object.entries(FRAME_TYPE).find(([, number]) => number === bytes[9]);
  if (found === undefined)
    throw new Error(`no message: ${Buffer.from(bytes.subarray(0, 12)).toString('hex')}`);
  return found[0] as keyof typeof FRAME_TYPE;
}

interface Refusal {
  readonly what: string;
  readonly before?: (world: CarrierWorld) => void;
  readonly prepare?: Parameters<MakeWorld>[0];
  /** Direction, verdict, reason, peer and handshake of the last record of either side. */
  readonly server?: string;
  readonly client: string | RegExp;
}

const TOKEN_REASONS = [
  'token-malformed',
  'token-untrusted',
  'token-expired',
  'token-not-yet-valid',
  'foreign-domain',
] as const satisfies readonly DenyReason[];

/** A server that says nothing: a RST tells a SYN that it is refused, and a stream that ends tells that nobody speaks there. */
const WITHOUT_A_WORD = /^outbound deny (refused-by-peer|peer-silent) unproven none$/;
const BY_PEER = 'outbound deny refused-by-peer unproven none';

const REFUSALS: readonly Refusal[] = [
  {
    what: "a client that the server's policy does not allow",
    before: ({ simulation }) => allow(simulation, 'admin'),
    server: 'inbound deny policy-denied proven full',
    client: 'outbound deny refused-by-peer proven full',
  },
  {
    what: "a call that the client's own policy forbids",
    before: ({ simulation }) => publish(simulation, [noCalls('web')]),
    client: 'outbound deny policy-denied unproven none',
  },
  {
    what: "a client that shows another pod's token",
    before: ({ simulation, client, plain }) => {
      client.credentials = {
        ...client.credentials!,
        token: simulation.credentialsFor(plain.pod)!.token,
      };
    },
    server: 'inbound deny proof-invalid unproven none',
    // The server has keys by then, and its refusal bears no MAC: whoever said it, it is not believed.
    client: 'outbound deny proof-invalid proven full',
  },
  {
    what: "a server that shows another pod's token",
    before: ({ simulation, server, plain }) => {
      server.credentials = {
        ...server.credentials!,
        token: simulation.credentialsFor(plain.pod)!.token,
      };
    },
    client: 'outbound deny proof-invalid unproven none',
  },
  ...TOKEN_REASONS.flatMap((reason): Refusal[] => [
    {
      what: `a client whose token is refused as ${reason}`,
      before: ({ simulation, client }) => simulation.refuseToken(client.credentials!.token, reason),
      server: `inbound deny ${reason} unproven none`,
      client: BY_PEER,
    },
    {
      what: `a server whose token is refused as ${reason}`,
      before: ({ simulation, server }) => simulation.refuseToken(server.credentials!.token, reason),
      client: `outbound deny ${reason} unproven none`,
    },
  ]),
  {
    what: 'a client of a domain with another admission key',
    before: ({ client }) => {
      client.admissionKey = randomBytes(32);
    },
    server: 'inbound deny token-untrusted unproven none',
    client: BY_PEER,
  },
  {
    what: "a client that shows the server's own identity",
    before: ({ client, server }) => {
      client.credentials = { ...server.credentials!, podUid: client.pod.uid };
    },
    server: 'inbound deny own-identity unproven none',
    client: BY_PEER,
  },
  {
    what: "a server that shows the client's own identity",
    before: ({ client, server }) => {
      server.credentials = { ...client.credentials!, podUid: server.pod.uid };
    },
    client: 'outbound deny own-identity unproven none',
  },
  {
    what: 'a server that is another pod than the one at the address',
    prepare: ({ server }) => {
      server.believed = { ...server.believed!, name: 'expected', uid: 'uid-expected' };
    },
    client: 'outbound deny wrong-peer proven full',
  },
  {
    what: 'a client whose pod is gone',
    before: ({ simulation, client, server }) => {
      client.believed = undefined;
      server.source.publish(simulation.snapshotFor(server));
    },
    server: 'inbound deny identity-revoked proven full',
    client: 'outbound deny refused-by-peer proven full',
  },
  {
    what: 'a server without an identity of its own',
    before: ({ server }) => {
      server.credentials = undefined;
    },
    server: 'inbound deny identity-unavailable unproven none',
    client: WITHOUT_A_WORD,
  },
  {
    what: 'a client without an identity of its own',
    before: ({ client }) => {
      client.credentials = undefined;
    },
    client: 'outbound deny identity-unavailable unproven none',
  },
  {
    what: 'a server that drains',
    before: ({ server }) => void server.proxy!.drain(10),
    server: 'inbound deny draining unproven none',
    client: WITHOUT_A_WORD,
  },
  {
    what: 'a client that drains',
    before: ({ client }) => void client.proxy!.drain(10),
    client: 'outbound deny draining unproven none',
  },
];

/** What every carrier of the handshake does alike: the same cases, the same records on both sides, and the same bytes at the applications. */
export function carrierCompliance(t: Test, name: string, makeWorld: MakeWorld): void {
  const test = (
    what: string,
    run: (t: Test, world: CarrierWorld) => Promise<void>,
    prepare: Parameters<MakeWorld>[0] = () => {},
  ): void => {
    void t.test(`${name} carrier: ${what}`, async (t) => {
      const world = makeWorld(prepare);
      t.teardown(() => world.close());
      allow(world.simulation, 'web');
      await run(t, world);
      t.strictSame([...world.client.defects, ...world.server.defects], [], 'without a defect');
    });
  };

  test('a first call is a full handshake of four messages', async (t, world) => {
    const call = await world.call({ says: 'hello' });
    t.equal(call.served(), 'hello');
    t.strictSame(world.server.counts, ['inbound allow policy-allowed proven full']);
    t.strictSame(world.client.counts, ['outbound allow not-isolated proven full']);
    t.strictSame(
      [...new Set(kinds(world))],
      ['client hello', 'server reply', 'client proof', 'server verdict'],
    );
  });

  test('a second call resumes with two messages, and is judged like the first', async (t, world) => {
    await world.call();
    world.messages.length = 0;
    const call = await world.call({ says: 'again' });
    t.equal(call.served(), 'again');
    t.equal(world.server.counts.at(-1), 'inbound allow policy-allowed proven resumed');
    t.equal(world.client.counts.at(-1), 'outbound allow not-isolated proven resumed');
    t.strictSame(kinds(world), ['client hello', 'server reply']);
    allow(world.simulation, 'admin');
    const denied = await world.call({ says: 'no more' });
    t.equal(denied.served(), '');
    t.ok(denied.isReset());
    t.equal(world.server.counts.at(-1), 'inbound deny policy-denied proven resumed');
    t.equal(world.client.counts.at(-1), 'outbound deny refused-by-peer proven resumed');
  });

  for (const { what, before, prepare, server, client } of REFUSALS) {
    test(
      `${what} is refused, told so, and recorded once on each side`,
      async (t, world) => {
        before?.(world);
        const call = await world.call({ says: 'secret' });
        t.equal(call.served(), '', 'nothing reaches the application');
        t.ok(call.isReset(), 'at once');
        t.match(world.client.counts.at(-1), client);
        if (server === undefined) {
          t.notOk(world.server.counts.some((count) => count.includes(' allow ')));
        } else t.strictSame([...new Set(world.server.counts)], [server]);
        t.equal(world.client.counts.length, 1);
        t.equal(world.client.records.length, 1);
      },
      prepare,
    );
  }

  test('a call that is relayed to another pod than it was meant for is refused there', async (t, world) => {
    const { simulation, server } = world;
    const decoy = simulation.pod('decoy', { app: 'db' });
    decoy.pod = { ...decoy.pod, nfqueue: server.pod.nfqueue === true };
    decoy.believed = decoy.pod;
    simulation.publish();
    world.lead(decoy.address);
    const call = await world.call({ to: decoy.address, says: 'secret' });
    t.equal(call.served(), '');
    t.ok(call.isReset());
    t.strictSame(server.counts, ['inbound deny wrong-destination unproven none']);
    t.equal(world.client.counts.at(-1), BY_PEER);
  });

  test('what was said once, full or resumed, is a replay when it is said again', async (t, world) => {
    for (const kind of ['full', 'resumed']) {
      t.equal((await world.call({ says: 'once' })).served(), 'once');
      t.match(world.server.counts.at(-1), kind);
      const again = await world.replay();
      t.equal(again.served(), '');
      t.equal(world.server.counts.at(-1), 'inbound deny replay unproven none', kind);
    }
  });

  test('messages of one call are worth nothing in another one', async (t, world) => {
    await world.call();
    const old = new Map(world.messages.map(({ from, type, bytes }) => [`${from} ${type}`, bytes]));
    for (const swapped of ['server reply', 'client proof', 'server verdict']) {
      forgetSessions(world);
      const proven = world.server.counts.filter((count) => count.includes(' allow ')).length;
      world.tamper = ({ from, type, bytes }) => (`${from} ${type}` === swapped ? old.get(swapped)! : bytes);
      const call = await world.call({ says: 'x' });
      world.tamper = undefined;
      await world.simulation.until(() => call.isReset());
      t.match(world.client.counts.at(-1), /^outbound deny (proof-invalid|refused-by-peer) /, swapped);
      // By the time of its Verdict the server has allowed what the client then refuses to believe.
      const allowed = world.server.counts.filter((count) => count.includes(' allow ')).length - proven;
      t.equal(allowed, swapped === 'server verdict' ? 1 : 0, swapped);
      if (swapped !== 'server verdict') t.equal(call.served(), '', swapped);
    }
  });

  test('whatever byte of Hello, Reply or Proof is changed, nothing reaches the application', async (t, world) => {
    const types = ['hello', 'reply', 'proof'] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...types),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 1, max: 255 }),
        async (type, place, change) => {
          forgetSessions(world);
          let changed = false;
          world.tamper = (message) => {
            if (message.type !== type) return message.bytes;
            changed = true;
            const bytes = message.bytes.slice();
            // Behind magic, version, type and length: what those say is the codec's business.
            const at = 12 + Math.floor(place * (bytes.length - 12));
            bytes[at] = bytes[at]! ^ change;
            return bytes;
          };
          const call = await world.call({ says: 'secret' });
          world.tamper = undefined;
          if (!changed) throw new Error('nothing was changed');
          if (call.served() !== '') throw new Error(`the application read ${call.served()}`);
          if (!call.isReset()) throw new Error('the client was not told');
        },
      ),
      { numRuns: 60 },
    );
    t.notOk(world.server.counts.some((count) => count.includes(' allow ')));
  });

  test('a policy that changes between Reply and Proof decides about the Proof', async (t, world) => {
    world.tamper = ({ type, bytes }) => {
      if (type === 'proof') allow(world.simulation, 'admin');
      return bytes;
    };
    const call = await world.call({ says: 'secret' });
    t.equal(call.served(), '');
    t.ok(call.isReset());
    t.strictSame(world.server.counts, ['inbound deny policy-denied proven full']);
  });

  test("a client's own policy that changes before the Verdict comes cuts the call", async (t, world) => {
    world.tamper = ({ type, bytes }) => {
      if (type === 'verdict') publish(world.simulation, [noCalls('web')]);
      return bytes;
    };
    const call = await world.call();
    await call.say('more');
    t.ok(call.isReset());
    t.strictSame(world.client.counts, ['outbound deny policy-denied proven full']);
    t.notMatch(call.served(), /more/);
  });

  test('a policy that changes later cuts what is open, and its session lets nobody in', async (t, world) => {
    const call = await world.call({ says: 'a' });
    t.equal(call.served(), 'a');
    allow(world.simulation, 'admin');
    await world.simulation.settle();
    await call.say('b');
    t.equal(call.served(), 'a');
    t.ok(call.isReset());
    t.equal(world.server.counts.at(-1), 'inbound deny policy-changed proven full');
    const next = await world.call({ says: 'c' });
    t.equal(next.served(), '');
    t.equal(world.server.counts.at(-1), 'inbound deny policy-denied proven resumed');
  });

  test('an issuer that is trusted no more cuts what it vouched for', async (t, world) => {
    const call = await world.call({ says: 'a' });
    world.simulation.trustedKeyId = 'issuer-2';
    world.server.proxy!.identityChanged();
    await world.simulation.settle();
    await call.say('b');
    t.equal(call.served(), 'a');
    t.ok(call.isReset());
    t.equal(world.server.counts.at(-1), 'inbound deny identity-revoked proven full');
  });

  test('no session outlives a new own identity, on either side', async (t, world) => {
    for (const renewed of [undefined, world.server, world.client, undefined]) {
      renewed?.proxy!.identityChanged();
      t.equal((await world.call({ says: 'x' })).served(), 'x');
    }
    t.strictSame(
      world.server.counts.map((count) => count.split(' ').at(-1)),
      ['full', 'full', 'full', 'resumed'],
    );
  });

  test('in audit mode what policy denies is served and recorded as what it would have been', async (t, world) => {
    world.simulation.mode = 'audit';
    allow(world.simulation, 'admin');
    t.equal((await world.call({ says: 'a' })).served(), 'a');
    t.strictSame(world.server.counts, ['inbound would_deny policy-denied proven full']);
    world.client.credentials = {
      ...world.client.credentials!,
      token: world.simulation.credentialsFor(world.plain.pod)!.token,
    };
    forgetSessions(world);
    t.equal((await world.call({ says: 'b' })).served(), '', 'but a broken proof is not softened');
    t.equal(world.server.counts.at(-1), 'inbound deny proof-invalid unproven none');
  });

  test('a peer that is not enrolled is judged by its address, in both directions', async (t, world) => {
    const { simulation, client, server, plain } = world;
    const refused = await world.callOfPlain('whatever its labels');
    t.equal(refused.served(), '');
    t.ok(refused.isReset());
    t.strictSame(server.counts, ['inbound deny unproven-denied unproven none']);
    publish(simulation, []);
    t.equal((await world.callOfPlain('GET /')).served(), 'GET /');
    // It counts as unproven when no message of ours has followed.
    await simulation.until(() => server.counts.at(-1) === 'inbound allow not-isolated unproven none');
    const out = await world.call({ to: plain.address, says: 'POST /' });
    t.equal(out.served(), 'POST /', 'exactly what was said');
    t.equal(client.counts.at(-1), 'outbound allow not-isolated unproven none');
    t.strictSame(world.messages, [], 'and no message of ours was carried');
  });

  test('a server whose address nobody knows yet is reached as soon as the source knows it', async (t, world) => {
    const { simulation, client, server } = world;
    const { believed } = server;
    server.believed = undefined;
    client.source.publish(simulation.snapshotFor(client));
    const calling = world.call({ says: 'early' });
    // The answer of a source that has to be asked, while the call is held.
    setTimeout(() => {
      server.believed = believed;
      simulation.publish();
    }, 50);
    const call = await calling;
    t.equal(call.served(), 'early');
    t.strictSame(server.counts, ['inbound allow policy-allowed proven full']);
  });

  test(
    'a server does not need to know its client: what the client has proven counts',
    async (t, world) => {
      t.equal((await world.call({ says: 'hello' })).served(), 'hello');
      t.strictSame(world.server.counts, ['inbound allow policy-allowed proven full']);
    },
    ({ client, server }) => void server.unseen.add(client.address),
  );
}

function allow(simulation: Simulation, from: string): void {
  publish(simulation, [allowFrom('db', from)]);
}

function publish(simulation: Simulation, policies: Simulation['policies']): void {
  simulation.policies = policies;
  simulation.publish();
}

function kinds({ messages }: CarrierWorld): string[] {
  return messages.map(({ from, type }) => `${from} ${type}`);
}

/** The next call is a full handshake again, and what was said before is no part of it. */
function forgetSessions({ client, server }: CarrierWorld): void {
  for (const { proxy } of [client, server]) {
    proxy!.surroundings.sessions.server.clear();
    proxy!.surroundings.sessions.client.clear();
  }
}
