import { randomBytes } from 'node:crypto';
import t from 'tap';
import { drawRandomness } from '../../src/handshake/ephemeral.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { flowId, type KeptFlow } from '../../src/nfqueue/flow-record-lines.ts';
import { buildPacket, withPayload } from '../../src/nfqueue/packets-build.ts';
import { isOpening, parseTcpPacket, payloadOf, TCP_FLAG } from '../../src/nfqueue/packets.ts';
import { recoverFlows } from '../../src/nfqueue/recovery.ts';
import { Strangers } from '../../src/nfqueue/strangers.ts';
import type { Simulation } from '../proxy/simulation.ts';
import { MARKS } from './queued-network.ts';
import { webAndDb } from './web-and-db.ts';
import { formatFlags } from './wire-reading.ts';

/** A SYN with a Hello from an address that somebody made up. */
function forgedSyn(simulation: Simulation, to: string, number: number, admitted: boolean): Uint8Array {
  const hello = buildHello({
    wishes: { encryption: 'none' },
    carrier: 'syn',
    nonce: randomBytes(32),
    ephemeral: randomBytes(32),
    destination: { address: to, port: 80 },
    cookie: new Uint8Array(0),
    token: randomBytes(300),
    offers: [],
    admissionKey: admitted ? simulation.admissionKey : randomBytes(32),
  });
  return synOf(`10.0.${200 + (number >> 13)}.1`, 1024 + (number & 0x1fff), to, number, hello);
}

/** A SYN to port 80. */
function synOf(from: string, port: number, to: string, sequence: number, payload: Uint8Array): Uint8Array {
  return buildPacket(
    {
      family: 4,
      sourceAddress: addressBytes(from)!,
      sourcePort: port,
      destinationAddress: addressBytes(to)!,
      destinationPort: 80,
    },
    { sequence, acknowledgement: 0, flags: TCP_FLAG.syn, payload },
  );
}

t.test('nfqueue attack: a flood of SYNs with made-up identities leaves honest clients alone', (t) => {
  const { simulation, network, client, server } = webAndDb(t);
  network.connect();
  client.tcp.connect();
  network.run();
  const before = server.pod.records.length;
  const begun = performance.now();
  for (let number = 0; number < 6_000; number++) {
    server.receive(forgedSyn(simulation, server.pod.address, number, number % 2 === 0));
  }
  // 600 at once and 300 a second from that address, and 100 and 100 of those whose MAC is wrong.
  const heard = Math.ceil(700 + 0.4 * (performance.now() - begun));
  const { dropped } = server.proxy.strangers;
  t.ok(dropped >= 6_000 - heard, `${dropped} were dropped unheard, at most ${heard} were heard`);
  t.ok(server.pod.records.length - before <= heard, 'and not everyone of them costs a record');
  t.notOk(server.pod.counts.slice(1).some((count) => count.includes('allow')));
  t.equal(server.path.undecided, 0);
  let through = 0;
  for (let number = 0; number < 100; number++) {
    network.connect();
    client.tcp.connect();
    network.run();
    if (server.tcp.state === 'established') through++;
    for (let flood = 0; flood < 50; flood++) {
      server.receive(forgedSyn(simulation, server.pod.address, 7_000 + number * 50 + flood, true));
    }
  }
  t.equal(through, 100, 'every connection that resumes a session gets through');
  t.ok(server.proxy.flows.size < 400, 'what was refused leaves nothing behind');
  t.end();
});

t.test(
  'nfqueue attack: who has a session cannot have full handshakes without bound by counters that are too old',
  (t) => {
    const { simulation, network, client, server } = webAndDb(t);
    network.connect();
    client.tcp.connect();
    network.run();
    const { sessions, identity } = client.pod.proxy!.surroundings;
    const [offer] = sessions.client.offer(server.pod.address, performance.now());
    const { token } = identity.credentials()!;
    const call = (number: number, counter: bigint): void => {
      const hello = buildHello({
        wishes: { encryption: 'none' },
        carrier: 'syn',
        nonce: randomBytes(32),
        ephemeral: drawRandomness().publicKey,
        destination: { address: server.pod.address, port: 80 },
        cookie: new Uint8Array(0),
        token,
        offers: [{ session: offer!.session, counter }],
        admissionKey: simulation.admissionKey,
      });
      server.receive(synOf(client.pod.address, 1024 + number, server.pod.address, number, hello));
    };
    // From here on any other counter is older than the window.
    call(0, BigInt(Number.MAX_SAFE_INTEGER));
    t.equal(server.pod.counts.at(-1), 'inbound allow policy-allowed proven resumed');
    const { strangers } = server.proxy;
    const fallen = t.capture(strangers, 'fellThrough', (source: string, now: number) => {
      Strangers.prototype.fellThrough.call(strangers, source, now);
    });
    for (let number = 1; number <= 20; number++) call(number, BigInt(number));
    t.equal(server.proxy.strangers.dropped, 0, 'a full handshake each, as for who was away for long');
    // What that is good for: test/nfqueue/strangers.test.ts.
    t.strictSame(
      fallen().map(({ args: [source] }) => source),
      Array.from({ length: 20 }, () => client.pod.address),
      'and each counts as one of a stranger',
    );
    t.end();
  },
);

t.test('nfqueue attack: a replayed SYN is answered with a RST and reaches nobody', (t) => {
  const { network, client, server } = webAndDb(t);
  for (let count = 0; count < 2; count++) {
    network.connect();
    client.tcp.connect();
    network.run();
  }
  const syn = network.wire
    .filter(({ from, bytes }) => from === 'client' && formatFlags(bytes) === 'SYN')
    .at(-1)!;
  const stolen = syn.bytes.slice();
  // From another port, so that it is no retransmission; the checksum is put right.
  const port = new DataView(stolen.buffer).getUint16(20) + 1;
  new DataView(stolen.buffer).setUint16(20, port);
  const sum = new DataView(stolen.buffer).getUint16(36);
  new DataView(stolen.buffer).setUint16(36, (sum + 0xfffe) % 0xffff);
  server.tcp.state = 'listen';
  const wire = network.wire.length;
  server.receive(stolen);
  t.equal(server.tcp.state, 'listen');
  t.strictSame(
    network.wire.slice(wire).map(({ bytes }) => formatFlags(bytes)),
    ['RST ACK'],
  );
  t.equal(server.pod.counts.at(-1), 'inbound deny replay unproven none');
  t.end();
});

t.test('nfqueue attack: a mark that no record tells of is not believed after a restart', async (t) => {
  const { network, client, server } = webAndDb(t);
  network.connect();
  client.tcp.connect();
  network.run();
  const [one] = server.proxy.flows.values();
  const { source, destination } = one!.flow.facts;
  const id = flowId('inbound', source, destination);
  const kept: KeptFlow = {
    direction: 'inbound',
    source,
    destination,
    handshake: 'full',
    since: Date.now(),
    judgement: one!.flow.judgement!,
    peer: one!.peer!,
  };
  t.strictSame(
    await recoverFlows(server.proxy, new Map(), server.pod.proxy!.surroundings, MARKS),
    { adopted: 0, cut: 0 },
    'what this run has verified itself is not of an earlier one',
  );
  t.equal([...server.proxy.flows.values()][0], one);
  for (const [records, adopted] of [
    [new Map([[id, kept]]), 1],
    [new Map<string, KeptFlow>(), 0],
  ] as const) {
    const proxy = server.start(adopted + 1);
    const around = server.pod.proxy!.surroundings;
    t.strictSame(await recoverFlows(proxy, records, around, MARKS), { adopted, cut: 1 - adopted });
    t.equal(proxy.flows.size, adopted);
    t.equal(server.path.destroyed.length, 1 - adopted, 'its socket is ended');
    client.tcp.write(adopted === 1 ? 'lives' : 'dead');
    network.run();
    t.equal(server.tcp.received, 'lives');
    await proxy.close();
  }
  t.equal(client.tcp.state, 'reset', 'and so is the other end, when it speaks');
});

t.test(
  'nfqueue attack: a Hello whose admission MAC is wrong is refused at the SYN, also where all else is right',
  (t) => {
    const { network, client, server } = webAndDb(t);
    network.onPacket = (bytes, from) => {
      const packet = parseTcpPacket(bytes);
      if (from !== 'client' || 'error' in packet || !isOpening(packet)) return bytes;
      const hello = payloadOf(packet).slice();
      hello[hello.length - 1]! ^= 1;
      return withPayload(packet, [hello]);
    };
    network.connect();
    client.tcp.connect();
    network.run();
    t.equal(server.tcp.state, 'listen', 'its kernel sees no SYN');
    t.equal(client.tcp.state, 'reset');
    t.match(server.pod.records, [{ judgement: { verdict: 'deny', reason: 'token-untrusted' } }]);
    t.end();
  },
);

t.test('nfqueue attack: a packet whose checksum is wrong changes nothing, whatever it bears', (t) => {
  const { simulation, network, server } = webAndDb(t);
  network.connect();
  const syn = forgedSyn(simulation, server.pod.address, 1, true);
  syn[37] = syn[37]! ^ 1;
  server.receive(syn);
  t.equal(server.pod.records.length, 0);
  t.equal(network.wire.length, 0);
  t.equal(server.path.undecided, 0);
  t.end();
});

t.test('nfqueue attack: an IPv4 address in the dress of an IPv6 address is nobody', (t) => {
  const { network, server } = webAndDb(t);
  network.connect();
  const mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1);
  const other = Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
  for (const [sourceAddress, destinationAddress] of [
    [mapped, other],
    [other, mapped],
  ] as const) {
    const tuple = {
      family: 6 as const,
      sourceAddress,
      sourcePort: 1,
      destinationAddress,
      destinationPort: 80,
    };
    server.receive(buildPacket(tuple, { sequence: 1, acknowledgement: 0, flags: TCP_FLAG.syn }));
  }
  t.strictSame(server.redirected, []);
  t.equal(network.wire.length, 0);
  t.equal(server.path.undecided, 0);
  t.end();
});
