import fc from 'fast-check';
import t, { type Test } from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { buildPacket, buildReset } from '../../src/nfqueue/packets-build.ts';
import { readSynOptions } from '../../src/nfqueue/packets-options.ts';
import { reversedTuple, TCP_FLAG } from '../../src/nfqueue/packets.ts';
import { formatFlags, frameTypes, packetOf } from './wire-reading.ts';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { Simulation } from '../proxy/simulation.ts';
import { allowFrom, noCalls } from './policies.ts';
import { MiniTcp } from './mini-tcp.ts';
import { type Fate, QueuedNetwork } from './queued-network.ts';

function world(t: Test | undefined, policies: NetworkPolicy[] = []) {
  const simulation = new Simulation();
  simulation.policies = policies;
  const client = simulation.pod('web', { app: 'web' });
  const server = simulation.pod('db', { app: 'db' });
  const network = new QueuedNetwork(simulation, client, server);
  t?.teardown(async () => {
    await Promise.all([network.client.proxy.close(), network.server.proxy.close()]);
  });
  return { simulation, network, client: network.client, server: network.server };
}

/** What must hold whatever happens: applications read what was written and nothing else, and no proxy threw. */
function sound(network: QueuedNetwork, toServer: string, toClient: string): string[] {
  const wrong: string[] = [];
  const { client, server } = network;
  const magic = Buffer.from(FrameFormat.magic).toString('latin1');
  for (const [name, tcp, sent] of [
    ['server', server.tcp, toServer],
    ['client', client.tcp, toClient],
  ] as const) {
    if (tcp.received.includes(magic)) wrong.push(`identity bytes reached the ${name}'s application`);
    if (!sent.startsWith(tcp.received)) wrong.push(`the ${name}'s application reads other bytes`);
  }
  for (const pod of [client, server]) {
    wrong.push(...pod.defects.map(String), ...pod.pod.defects.map(String));
    if (pod.path.undecided > 0) wrong.push('a packet without a verdict');
  }
  return wrong;
}

t.test(
  'nfqueue: two pods prove themselves on SYN, SYN-ACK and ACK, and then the kernel has the flow',
  (t) => {
    const { network, client, server } = world(t, [allowFrom('db', 'web')]);
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.state, 'established');
    t.equal(server.tcp.state, 'established');
    t.strictSame(
      network.wire
        .slice(0, 4)
        .map(({ from, bytes }) => `${from} ${formatFlags(bytes)} ${frameTypes(bytes).join()}`),
      ['client SYN hello', 'server SYN ACK reply', 'client ACK proof', 'server ACK verdict'],
    );
    const [forClient, forServer] = [client.path.queued, server.path.queued];
    client.tcp.write('hello');
    server.tcp.write('world');
    network.run();
    t.equal(server.tcp.received, 'hello');
    t.equal(client.tcp.received, 'world');
    t.equal(client.path.queued, forClient, 'no packet is queued any more');
    t.equal(server.path.queued, forServer);
    t.ok(forClient <= 4 && forServer <= 4, `${forClient} and ${forServer} packets were queued`);
    t.strictSame(client.pod.counts, ['outbound allow not-isolated proven full']);
    t.strictSame(server.pod.counts, ['inbound allow policy-allowed proven full']);
    t.strictSame(sound(network, 'hello', 'world'), []);
    t.end();
  },
);

t.test('nfqueue: the second connection resumes the session with two queued packets on each side', (t) => {
  const { network, client, server } = world(t, [allowFrom('db', 'web')]);
  network.connect();
  client.tcp.connect();
  network.run();
  const [forClient, forServer] = [client.path.queued, server.path.queued];
  network.connect();
  client.tcp.connect();
  client.tcp.write('again');
  network.run();
  t.equal(server.tcp.received, 'again');
  t.equal(client.path.queued - forClient, 2);
  t.equal(server.path.queued - forServer, 2);
  t.equal(client.pod.counts.at(-1), 'outbound allow not-isolated proven resumed');
  t.equal(server.pod.counts.at(-1), 'inbound allow policy-allowed proven resumed');
  t.strictSame(sound(network, 'again', ''), []);
  t.end();
});

t.test(
  'nfqueue: whom policy does not allow is reset at once, on both sides, and its data reach nobody',
  (t) => {
    const { network, client, server } = world(t, [allowFrom('db', 'admin')]);
    network.connect();
    client.tcp.connect();
    client.tcp.write('let me in');
    network.run();
    t.equal(client.tcp.state, 'reset');
    t.equal(server.tcp.state, 'reset');
    t.equal(server.tcp.received, '');
    t.strictSame(server.pod.counts, ['inbound deny policy-denied proven full']);
    t.strictSame(client.pod.counts, ['outbound deny refused-by-peer proven full']);
    t.equal(server.pod.records.length, 1);
    t.equal(client.pod.records.length, 1);
    t.end();
  },
);

t.test('nfqueue: a call that the own policy forbids is refused before a SYN leaves', (t) => {
  const { simulation, network, client, server } = world(t);
  simulation.policies = [noCalls('web')];
  simulation.publish();
  network.connect();
  client.tcp.connect();
  network.run();
  t.equal(client.tcp.state, 'reset');
  t.strictSame(client.pod.counts, ['outbound deny policy-denied unproven none']);
  t.equal(server.tcp.state, 'listen');
  t.equal(network.wire.length, 0);
  t.end();
});

t.test('nfqueue: a server whose application does not listen is a failed dial on its own side', (t) => {
  const { network, client, server } = world(t);
  for (const known of ['unproven none', 'proven resumed']) {
    if (known === 'proven resumed') {
      network.connect();
      client.tcp.connect();
      network.run();
    }
    network.connect();
    server.tcp.state = 'closed';
    client.tcp.connect();
    network.run();
    // What its kernel answers (RFC 9293, 3.10.7.1).
    const [flow] = [...server.proxy.flows.values()].slice(-1);
    const numbers = { sequence: 0, acknowledgement: client.tcp.initial + 1 };
    server.send(buildReset(reversedTuple(flow!.tuple), numbers));
    network.run();
    t.equal(client.tcp.state, 'reset', known);
    t.equal(server.pod.counts.at(-1), `inbound deny dial-failed ${known}`);
    t.match(server.pod.records.at(-1), { judgement: { reason: 'dial-failed' } }, known);
    t.match(client.pod.counts.at(-1), /^outbound deny refused-by-peer/, known);
    t.strictSame(sound(network, '', ''), []);
  }
  t.end();
});

t.test('nfqueue: what is lost is repeated with the same frames, and nothing is decided twice', (t) => {
  for (let lost = 0; lost < 5; lost++) {
    const { network, client, server } = world(t, [allowFrom('db', 'web')]);
    network.connect();
    network.fates = Array.from({ length: lost + 1 }, (_, index): Fate => (index === lost ? 0 : 1));
    client.tcp.connect();
    client.tcp.write('data');
    network.run();
    network.retransmit();
    network.retransmit();
    t.equal(server.tcp.received, 'data', `after losing packet ${lost}`);
    t.strictSame(server.pod.counts, ['inbound allow policy-allowed proven full']);
    t.strictSame(sound(network, 'data', ''), []);
  }
  t.end();
});

t.test('nfqueue: a lost Proof of a client that waits for the server to speak first is repeated', (t) => {
  for (const cookies of [false, true]) {
    const { network, client, server } = world(t, [allowFrom('db', 'web')]);
    network.connect();
    server.tcp.cookies = cookies;
    server.tcp.write('220 mail');
    network.fates = [1, 1, 0];
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.received, '');
    network.pass(2_000);
    t.equal(client.tcp.received, '220 mail');
    const proofs = network.wire.filter(({ bytes }) => frameTypes(bytes).includes('proof'));
    t.ok(proofs.length > 1);
    for (const { bytes } of proofs) t.strictSame(bytes, proofs[0]!.bytes, 'as its kernel said it');
    t.strictSame(sound(network, '', '220 mail'), []);
  }
  t.end();
});

t.test("nfqueue: an application's own Fast Open option and data in its SYN go nowhere", (t) => {
  const { network, client, server } = world(t, [allowFrom('db', 'web')]);
  network.connect();
  client.tcp.synOptions = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
  client.tcp.synPayload = 'early data';
  client.tcp.connect();
  network.run();
  t.equal(server.tcp.received, '');
  t.notOk(
    network.wire.some(({ bytes }) => Buffer.from(bytes).includes('early data')),
    'nothing of it is on the wire',
  );
  const syn = network.wire.find(({ bytes }) => formatFlags(bytes) === 'SYN');
  t.strictSame(readSynOptions(packetOf(syn!.bytes))?.fastOpen, []);
  t.equal(server.tcp.state, 'established');
  t.end();
});

t.test('nfqueue: when both sides open at once neither is let through, and both are told', (t) => {
  for (const fates of [[], [0], [1, 0]] as const) {
    const { network, client, server } = world(t);
    network.fates = [...fates];
    network.connect();
    server.tcp.connect();
    client.tcp.connect();
    network.run();
    t.equal(client.tcp.state, 'reset');
    t.equal(server.tcp.state, 'reset', `also when a SYN is lost (${fates.join()})`);
    t.strictSame(sound(network, '', ''), []);
  }
  t.end();
});

t.test(
  'nfqueue: a SYN with the preamble of a sidecar that dials with Fast Open goes to the listener, as it is',
  (t) => {
    for (const [carrier, redirected] of [
      [1, 1],
      [2, 0],
    ] as const) {
      const { network, client, server } = world(t);
      network.connect();
      const { magic, typeOffset, helloCarrierOffset } = FrameFormat;
      const preamble = Buffer.alloc(300);
      preamble.set(magic);
      preamble[magic.length] = 1;
      preamble[typeOffset] = 1;
      preamble[helloCarrierOffset] = carrier;
      const tuple = {
        family: 4,
        sourceAddress: addressBytes(client.pod.address)!,
        sourcePort: 45_000,
        destinationAddress: addressBytes(server.pod.address)!,
        destinationPort: 80,
      } as const;
      const dialer = new MiniTcp(tuple, 5_000, (bytes) => server.receive(bytes));
      dialer.synPayload = preamble.toString('latin1');
      dialer.connect();
      t.equal(server.redirected.length, redirected, `carrier ${carrier}`);
      t.equal(server.tcp.received, '', 'not to the application');
      if (redirected === 1) {
        t.ok(Buffer.from(server.redirected[0]!.bytes).includes(preamble));
        t.strictSame(server.pod.counts, [], 'the listener makes the record');
      }
    }
    t.end();
  },
);

t.test('nfqueue: a new connection on the ports of an old one is judged, whatever the mark', (t) => {
  const { simulation, network, client, server } = world(t, [allowFrom('db', 'web')]);
  network.connect({ sourcePort: 40_001 });
  client.tcp.connect();
  client.tcp.write('old');
  network.run();
  t.equal(server.tcp.received, 'old');
  simulation.policies = [allowFrom('db', 'web')];
  // The old one vanished without a word; policy has changed for new ones in the meantime.
  (client.proxy.flows as Map<string, unknown>).clear();
  client.path.marks.clear();
  server.tcp.state = 'listen';
  simulation.policies = [allowFrom('db', 'admin')];
  for (const flow of server.pod.proxy!.open) server.pod.proxy!.open.delete(flow);
  simulation.publish();
  network.connect({ sourcePort: 40_001, initial: 77_000 });
  client.tcp.connect();
  client.tcp.write('new');
  network.run();
  t.equal(server.tcp.received, '');
  t.equal(client.tcp.state, 'reset');
  t.match(server.pod.counts.at(-1), /^inbound deny policy-denied proven/);
  t.end();
});

t.test('nfqueue: a SYN-ACK that nobody asked for is answered as a kernel would, and reaches nobody', (t) => {
  const { network, client, server } = world(t);
  network.connect({ sourcePort: 40_000 });
  client.tcp.connect();
  const before = network.wire.length;
  const tuple = {
    family: 4 as const,
    sourceAddress: addressBytes(server.pod.address)!,
    sourcePort: 80,
    destinationAddress: addressBytes(client.pod.address)!,
    destinationPort: 40_001,
  };
  client.receive(
    buildPacket(tuple, { sequence: 7, acknowledgement: 4_000_000_000, flags: TCP_FLAG.syn | TCP_FLAG.ack }),
  );
  const answers = network.wire.slice(before).map(({ bytes }) => bytes);
  t.strictSame(answers.map(formatFlags), ['RST']);
  t.equal(packetOf(answers[0]!).sequence, 4_000_000_000);
  t.equal(packetOf(answers[0]!).sourcePort, 40_001);
  network.run();
  t.equal(client.tcp.state, 'established', 'what is under way beside it goes on');
  t.end();
});

t.test('nfqueue: packets of a connection without a Proof never reach the kernel', (t) => {
  const { network, client, server } = world(t, [allowFrom('db', 'web')]);
  network.connect({ sourcePort: 40_000 });
  network.fates = [1, 1, 0, 0, 0, 0];
  client.tcp.connect();
  network.run();
  t.equal(server.tcp.state, 'syn-received');
  // Somebody who sees the path and has no key goes on in the client's name.
  const tuple = {
    family: 4 as const,
    sourceAddress: addressBytes(client.pod.address)!,
    sourcePort: 40_000,
    destinationAddress: addressBytes(server.pod.address)!,
    destinationPort: 80,
  };
  for (const payload of ['', 'stolen']) {
    server.receive(
      buildPacket(tuple, {
        sequence: 1_001,
        acknowledgement: 900_001,
        flags: TCP_FLAG.ack,
        payload: Buffer.from(payload),
      }),
    );
  }
  t.equal(server.tcp.state, 'syn-received');
  t.equal(server.tcp.received, '');
  t.end();
});

t.test(
  'nfqueue: a SYN without a Hello goes to the listener, and so does a call to whom the source knows no queues of',
  (t) => {
    const { simulation, network, client, server } = world(t);
    simulation.pods.get(server.pod.address)!.believed = { ...server.pod.pod, nfqueue: false };
    simulation.publish();
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(client.redirected.length, 1);
    t.equal(network.wire.length, 0);
    server.receive(client.redirected[0]!.bytes);
    t.equal(server.redirected.length, 1);
    t.equal(server.tcp.state, 'listen');
    t.end();
  },
);

t.test(
  'nfqueue: a path that eats SYNs with data is left for the stream carrier, for a while and once',
  async (t) => {
    const { network, client } = world(t);
    network.connect();
    network.fates = Array.from({ length: 10 }, (): Fate => 0);
    client.tcp.connect();
    network.run();
    network.retransmit();
    t.strictSame(client.fallbacks, []);
    network.pass(1_000);
    t.equal(client.fallbacks.length, 1);
    t.match(client.fallbacks[0], /no answer to 2 SYNs/);
    t.equal(client.path.deleted.length, 1, 'the conntrack entry is gone, so that nat sees the next SYN');
    client.tcp.retransmit();
    t.equal(client.redirected.length, 1);
    network.connect();
    client.tcp.connect();
    t.equal(client.redirected.length, 2);
    t.strictSame(client.pod.counts, [], 'the listener makes the record');
    t.end();
  },
);

t.test('nfqueue: a change of policy cuts what is open', async (t) => {
  const { simulation, network, client, server } = world(t, [allowFrom('db', 'web')]);
  network.connect();
  client.tcp.connect();
  network.run();
  simulation.policies = [allowFrom('db', 'admin')];
  simulation.publish();
  await simulation.settle();
  t.equal(server.pod.counts.at(-1), 'inbound deny policy-changed proven full');
  t.equal(server.path.deleted.length, 1);
  t.equal(server.path.destroyed.length, 1);
  client.tcp.write('still there?');
  network.run();
  t.equal(server.tcp.received, '');
  t.equal(server.tcp.state, 'reset');
  t.equal(client.tcp.state, 'reset');
  t.end();
});

const fate = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Fate>(1) },
  { weight: 3, arbitrary: fc.constantFrom<Fate>(0, 2, 3) },
);

t.test(
  'nfqueue: whatever is lost, doubled or late, allowed bytes arrive and identity bytes never do',
  (t) => {
    fc.assert(
      fc.property(
        fc.array(fate, { maxLength: 30 }),
        fc.constantFrom(0xffff_fffe, 0xffff_ff00, 1, 0x7fff_ffff),
        fc.constantFrom(0xffff_ffff, 5, 0x8000_0000),
        fc.string({ minLength: 1, maxLength: 40 }),
        fc.boolean(),
        (fates, initial, serverInitial, text, early) => {
          const { network, client, server } = world(undefined, [allowFrom('db', 'web')]);
          network.connect({ initial, serverInitial });
          network.fates = [...fates];
          const sent = Buffer.from(text).toString('latin1');
          client.tcp.connect();
          if (early) client.tcp.write(sent);
          network.run();
          if (!early) client.tcp.write(sent);
          server.tcp.write('answer');
          for (let round = 0; round < 40; round++) network.retransmit();
          const wrong = sound(network, sent, 'answer');
          if (wrong.length > 0) throw new Error(wrong.join('; '));
          if (server.tcp.received !== sent)
            throw new Error(`the server read ${JSON.stringify(server.tcp.received)}`);
          if (client.tcp.received !== 'answer') throw new Error('the client did not read the answer');
          void client.proxy.close();
          void server.proxy.close();
        },
      ),
      { numRuns: 150 },
    );
    t.end();
  },
);

t.test(
  'nfqueue: whatever is lost, doubled or late, nobody whom policy denies reaches an application',
  (t) => {
    fc.assert(
      fc.property(fc.array(fate, { maxLength: 30 }), (fates) => {
        const { network, client, server } = world(undefined, [allowFrom('db', 'admin')]);
        network.connect();
        network.fates = [...fates];
        client.tcp.connect();
        client.tcp.write('in');
        network.run();
        for (let round = 0; round < 20; round++) network.retransmit();
        const wrong = sound(network, '', '');
        if (wrong.length > 0) throw new Error(wrong.join('; '));
        if (server.tcp.state === 'established') throw new Error('a denied connection was established');
        void client.proxy.close();
        void server.proxy.close();
      }),
      { numRuns: 150 },
    );
    t.end();
  },
);
