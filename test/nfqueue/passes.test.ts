import t from 'tap';
import { addressBytes } from '../../src/nfqueue/flow-endpoints.ts';
import { buildReset } from '../../src/nfqueue/packets-build.ts';
import { finishPacket } from '../../src/nfqueue/packets-checksum.ts';
import { allowFrom } from './policies.ts';
import { formatFlags, frameTypes, packetOf } from './wire-reading.ts';
import { type PassingPods, passingPods, saidOf } from './passing-pods.ts';
import { until } from '../support/until.ts';

function pods(
  t: { teardown: (end: () => Promise<unknown>) => unknown },
  ...given: Parameters<typeof passingPods>
) {
  const made = passingPods(...given);
  t.teardown(() => made.end());
  return made;
}

function wireOf({ network }: PassingPods, from: number): string[] {
  return network.wire
    .slice(from)
    .map(({ from: who, bytes }) => `${who} ${formatFlags(bytes)} ${frameTypes(bytes).join()}`);
}

t.test(
  'nfqueue passes: a resumed connection goes by passes on both sides, and its flow, record and count are those of one without',
  (t) => {
    const [byPass, alone] = [pods(t), pods(t, false)];
    const before = byPass.network.wire.length;
    for (const one of [byPass, alone]) {
      one.connect({ sourcePort: 50_000 });
      one.client.tcp.write('question');
      one.server.tcp.write('answer');
      one.network.run();
      t.equal(one.server.tcp.received, 'question');
      t.equal(one.client.tcp.received, 'answer');
    }
    t.strictSame(
      [byPass.client.path.passed, byPass.server.path.passed],
      [2, 2],
      'SYN and SYN-ACK on both sides',
    );
    t.strictSame([alone.client.path.passed, alone.server.path.passed], [0, 0]);
    t.strictSame(wireOf(byPass, before).slice(0, 3), [
      'client SYN hello',
      'server SYN ACK reply',
      'client ACK ',
    ]);
    t.strictSame(saidOf(byPass.client), saidOf(alone.client));
    t.strictSame(saidOf(byPass.server), saidOf(alone.server));
    t.equal(byPass.client.pod.counts.at(-1), 'outbound allow not-isolated proven resumed');
    t.equal(byPass.server.pod.counts.at(-1), 'inbound allow policy-allowed proven resumed');
    t.end();
  },
);

t.test('nfqueue passes: over IPv6 as over IPv4', (t) => {
  const one = pods(t, true, [allowFrom('db', 'web')], { client: 'fd00::1', server: 'fd00::2' });
  one.connect();
  t.strictSame([one.client.path.passed, one.server.path.passed], [2, 2]);
  t.equal(one.client.tcp.state, 'established');
  t.equal(one.server.proxy.flows.size, 3);
  t.end();
});

t.test('nfqueue passes: an application that does not accept a call by a pass is a failed dial', (t) => {
  const one = pods(t);
  one.network.connect({ sourcePort: 50_000 });
  one.server.tcp.state = 'closed';
  one.client.tcp.connect();
  one.network.run();
  t.equal(one.server.path.passed, 1, 'its SYN was answered by a pass');
  const toClient = {
    family: 4,
    sourceAddress: addressBytes(one.server.pod.address)!,
    sourcePort: 80,
    destinationAddress: addressBytes(one.client.pod.address)!,
    destinationPort: 50_000,
  } as const;
  one.server.send(buildReset(toClient, { sequence: 0, acknowledgement: one.client.tcp.initial + 1 }));
  one.network.run();
  t.equal(one.client.tcp.state, 'reset');
  t.equal(one.server.pod.counts.at(-1), 'inbound deny dial-failed proven resumed');
  t.match(one.client.pod.counts.at(-1), /^outbound deny refused-by-peer/);
  t.end();
});

t.test('nfqueue passes: what was told is cut by a change of policy like any other', async (t) => {
  const one = pods(t);
  one.connect();
  t.equal(one.server.path.passed, 2);
  one.simulation.policies = [allowFrom('db', 'nobody')];
  one.simulation.publish();
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(one.server.path.destroyed.length, 3);
  t.equal(one.server.pod.counts.filter((text) => text.includes('policy-changed')).length, 3);
  one.connect();
  t.equal(one.server.path.passed, 2, 'nothing goes by a pass any more');
  t.equal(one.client.tcp.state, 'reset');
  t.end();
});

t.test(
  'nfqueue passes: a call that is under way when all passes are taken back goes on in TypeScript',
  (t) => {
    const one = pods(t);
    one.network.connect();
    one.client.tcp.connect();
    t.equal(one.client.path.passed, 1, 'the SYN went by a pass');
    one.client.pod.proxy!.surroundings.passes.revoke();
    one.network.run();
    t.equal(one.client.path.passed, 1, 'the answer did not');
    t.equal(one.client.tcp.state, 'established');
    t.equal(one.client.pod.counts.at(-1), 'outbound allow not-isolated proven resumed');
    t.equal(one.client.proxy.flows.size, 3);
    t.end();
  },
);

t.test(
  "nfqueue passes: a connection whose SYN went by a pass is nobody's when policy forbids it before its SYN-ACK",
  (t) => {
    const one = pods(t);
    one.network.connect();
    // The kernel of the server takes its time with the SYN-ACK.
    const { send } = one.server;
    const held: Uint8Array[] = [];
    Object.assign(one.server, { send: (bytes: Uint8Array) => held.push(bytes) });
    one.network.connect();
    one.client.tcp.connect();
    one.network.run();
    t.equal(one.server.path.passed, 1);
    t.equal(held.length, 1);
    one.simulation.policies = [allowFrom('db', 'nobody')];
    one.simulation.publish();
    send(held[0]!);
    one.network.run();
    t.equal(one.server.path.passed, 1);
    t.not(one.client.tcp.state, 'established');
    t.end();
  },
);

t.test(
  'nfqueue passes attack: a SYN that a pass has answered is refused as a replay from another port',
  (t) => {
    const one = pods(t);
    one.network.connect({ sourcePort: 50_000 });
    one.client.tcp.connect();
    const syn = one.network.wire.at(-1)!.bytes.slice();
    one.network.run();
    t.equal(one.server.path.passed, 2);
    one.network.connect({ sourcePort: 50_001, initial: packetOf(syn).sequence });
    const again = syn.slice();
    again[21] = again[21]! + 1;
    // One's complement: what one word gains the checksum loses.
    const sum = ((again[36]! << 8) | again[37]!) - 1;
    again[36] = sum >> 8;
    again[37] = sum & 255;
    one.server.receive(again);
    one.network.run();
    t.equal(one.server.path.passed, 2);
    t.equal(one.server.tcp.state, 'listen', 'the application hears nothing');
    t.equal(one.server.pod.counts.at(-1), 'inbound deny replay unproven none');
    t.end();
  },
);

t.test(
  'nfqueue passes: a SYN that is said again is answered with the same Hello, and a lost answer with the same Reply',
  (t) => {
    const one = pods(t);
    one.network.connect();
    one.network.fates = [1, 0];
    one.client.tcp.connect();
    one.network.run();
    t.strictSame([one.client.path.passed, one.server.path.passed], [1, 2]);
    const before = one.network.wire.length;
    one.network.retransmit();
    t.equal(one.client.tcp.state, 'established');
    t.strictSame(wireOf(one, before).slice(0, 2), ['client SYN hello', 'server SYN ACK reply']);
    const frames = one.network.wire
      .slice(before - 2, before + 2)
      .map(({ bytes }) => Buffer.from(bytes.subarray(60)).toString('hex'));
    t.equal(frames[0], frames[2]);
    t.equal(frames[1], frames[3]);
    t.equal(one.server.pod.counts.length, 3, 'it was counted once');
    t.equal(one.client.pod.counts.length, 3);
    t.end();
  },
);

t.test(
  'nfqueue passes: a path that eats SYNs with data is noticed when calls go by passes, and the passes are over',
  (t) => {
    const one = pods(t);
    one.network.connect();
    one.network.fates = Array.from({ length: 20 }, () => 0 as const);
    one.client.tcp.connect();
    one.network.run();
    one.network.retransmit();
    one.network.pass(1_000);
    t.equal(one.client.fallbacks.length, 1);
    one.network.connect();
    one.client.tcp.connect();
    t.equal(one.client.redirected.length, 1, 'the next call uses the stream carrier');
    t.equal(one.client.path.passed, 1);
    t.end();
  },
);

t.test('nfqueue passes: no pass is given for an address that has turned to the stream carrier', (t) => {
  const one = pods(t);
  const { client, network, server } = one;
  client.pod.proxy!.surroundings.passes.revoke();
  client.pod.proxy!.surroundings.sessions.client.clear();
  // The first SYN of this call is lost, and so are all of the next one's.
  network.fates = [0];
  network.connect({ sourcePort: 50_001 });
  client.tcp.connect();
  const slow = { client: client.tcp, server: server.tcp };
  network.fates = [0, 0];
  network.connect({ sourcePort: 50_002 });
  client.tcp.connect();
  client.tcp.retransmit();
  network.pass(1_200);
  t.equal(client.fallbacks.length, 1);
  client.tcp = slow.client;
  server.tcp = slow.server;
  client.tcp.retransmit();
  network.run();
  t.equal(client.tcp.state, 'established', 'what was under way goes on');
  one.connect({ sourcePort: 50_003 });
  t.equal(client.redirected.length, 1, 'the next call is led to the listener');
  t.equal(client.path.passed, 0);
  t.end();
});

t.test('nfqueue passes: a call that nobody answers and the application gives up is told', async (t) => {
  const one = pods(t);
  one.network.connect();
  one.network.fates = [0];
  one.client.tcp.connect();
  one.network.run();
  // Half a second and a tick later it is TypeScript's.
  for (const deadline = performance.now() + 60_000; one.client.proxy.flows.size < 3;) {
    t.ok(performance.now() < deadline);
    await new Promise((resolve) => setTimeout(resolve, 50));
    one.client.proxy.tick({ monotonic: performance.now(), epochSeconds: Date.now() / 1000 });
  }
  one.network.pass(9_000);
  t.equal(one.client.pod.counts.at(-1), 'outbound deny handshake-timeout unproven none');
  t.equal(one.client.proxy.flows.size, 2);
  t.end();
});

t.test('nfqueue passes: a new connection on the ports of one that went by a pass ends that one', (t) => {
  const [byPass, alone] = [pods(t), pods(t, false)];
  for (const one of [byPass, alone]) {
    one.connect({ sourcePort: 50_000, initial: 1_000 });
    one.connect({ sourcePort: 50_000, initial: 2_000_000, serverInitial: 7_000_000 });
    t.equal(one.client.tcp.state, 'established');
    t.equal(one.client.proxy.flows.size, 3);
    t.equal(one.server.proxy.flows.size, 3);
  }
  t.strictSame([byPass.client.path.passed, byPass.server.path.passed], [4, 4]);
  t.strictSame(saidOf(byPass.client), saidOf(alone.client));
  t.strictSame(saidOf(byPass.server), saidOf(alone.server));
  t.end();
});

t.test('nfqueue passes: a SYN that overtakes the end of its own handshake gets no second Hello', (t) => {
  const one = pods(t);
  one.network.connect({ sourcePort: 50_000 });
  one.client.tcp.connect();
  const syn = one.client.tcp;
  one.network.run();
  t.equal(one.client.path.passed, 2);
  const before = one.network.wire.length;
  syn.state = 'syn-sent';
  syn.retransmit();
  t.equal(one.network.wire.length, before, 'it goes nowhere');
  t.equal(one.client.path.passed, 2);
  t.end();
});

/** Connections that come so fast that they are kept back. */
function burst(one: PassingPods, count: number): void {
  for (const { path } of [one.client, one.server]) path.tellsOfPasses = false;
  for (let index = 0; index < count; index++) one.connect({ sourcePort: 51_000 + index });
}

/** Lets ticks go by until it is so. */
async function ticking(one: PassingPods, isSo: () => boolean): Promise<void> {
  for (const deadline = performance.now() + 60_000; !isSo();) {
    if (performance.now() > deadline) throw new Error('it never is');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const now = { monotonic: performance.now(), epochSeconds: Date.now() / 1000 };
    for (const { proxy } of [one.client, one.server]) proxy.tick(now);
  }
}

t.test(
  'nfqueue passes: of a burst the connections that are over are counted and recorded once, and are in no table and no file',
  async (t) => {
    const one = pods(t);
    const said = [one.client, one.server].map(({ pod, kept, proxy }) => [
      pod.counts.length,
      pod.records.length,
      kept.size,
      proxy.byPass.count,
    ]);
    burst(one, 20);
    for (const { path } of [one.client, one.server]) {
      t.equal(path.passing!.keptBack, 20);
      Object.assign(path, { socketLives: false, tcpState: 7 });
    }
    await ticking(one, () => one.client.pod.records.length >= 20 && one.server.pod.records.length >= 20);
    for (const [index, { pod, proxy, kept, path }] of [one.client, one.server].entries()) {
      const [counts, records, lines, count] = said[index]!;
      t.equal(pod.counts.length, counts! + 20);
      t.equal(pod.records.length, records! + 20);
      t.match(pod.records.at(-1), {
        facts: { peer: 'proven', handshake: 'resumed', source: { port: 51_019, pod: 'web' } },
        judgement: { verdict: 'allow' },
      });
      t.equal(proxy.flows.size, 2);
      t.equal(kept.size, lines);
      t.equal(path.passing!.keptBack, 0);
      t.equal(proxy.byPass.count, count! + 20);
    }
    // Their ports are free: what comes there is a new connection.
    for (const { path } of [one.client, one.server])
      Object.assign(path, { socketLives: true, tcpState: 3, tellsOfPasses: true });
    one.connect({ sourcePort: 51_003, initial: 77_000_000 });
    t.equal(one.client.tcp.state, 'established');
    t.equal(one.server.proxy.flows.size, 3);
  },
);

t.test(
  'nfqueue passes: of a burst one on the ports of an earlier one ends that one, and is kept back itself',
  (t) => {
    const one = pods(t);
    burst(one, 1);
    one.connect({ sourcePort: 51_000, initial: 2_000_000, serverInitial: 7_000_000 });
    t.equal(one.client.tcp.state, 'established');
    for (const { path, pod, proxy, kept } of [one.client, one.server]) {
      t.equal(path.passing!.keptBack, 1);
      t.equal(proxy.flows.size, 3);
      t.equal(pod.records.length, 1);
      t.match(pod.records[0], { facts: { source: { port: 51_000 }, handshake: 'resumed' } });
      t.equal(kept.size, 3);
    }
    t.end();
  },
);

t.test('nfqueue passes: of a burst a connection whose socket lives is told as open', async (t) => {
  const one = pods(t);
  burst(one, 3);
  // A forged RST that conntrack believes.
  one.server.path.tcpState = 8;
  await ticking(one, () => one.server.path.passing!.keptBack === 0);
  t.equal(one.server.proxy.flows.size, 5);
  t.equal(one.server.kept.size, 5, 'they outlive a crash');
  t.equal(one.server.pod.records.length, 0);
});

t.test('nfqueue passes: what a burst leaves open is in the file soon, without a tick', async (t) => {
  const one = pods(t);
  burst(one, 20);
  const { path, proxy, kept } = one.server;
  t.equal(path.passing!.keptBack, 20);
  proxy.passed();
  await until('none is kept back', () => path.passing!.keptBack === 0);
  await until('in the file', () => kept.size === 22);
  t.equal(one.server.pod.records.length, 0);
});

t.test('nfqueue passes: of a burst every connection is cut by a change of policy', async (t) => {
  const one = pods(t);
  burst(one, 20);
  t.equal(one.server.path.passing!.keptBack, 20);
  one.simulation.policies = [allowFrom('db', 'nobody')];
  one.simulation.publish();
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(one.server.path.destroyed.length, 22);
  t.equal(one.server.pod.counts.filter((text) => text.includes('policy-changed')).length, 22);
});

t.test('nfqueue passes: of a burst a connection of which a packet comes has its flow by then', (t) => {
  const one = pods(t);
  burst(one, 3);
  const synAck = one.network.wire.findLast(({ bytes }) => formatFlags(bytes) === 'SYN ACK')!.bytes;
  t.equal(one.client.path.passing!.keptBack, 3);
  // Bytes behind the packet: the addon does not read such a one at all.
  const other = Uint8Array.from([...synAck, 0, 0, 0, 0]);
  const before = one.network.wire.length;
  one.client.receive(other);
  t.equal(one.client.path.passing!.keptBack, 2);
  t.notOk(
    wireOf(one, before).some((text) => text.includes('RST')),
    'nobody is told that there is no such connection',
  );
  one.client.receive(synAck);
  t.equal(one.client.path.passing!.keptBack, 2);
  t.equal(one.client.path.destroyed.length, 0);
  t.end();
});

t.test(
  'nfqueue passes: when the data path is closed, or the proxy drains, nothing goes by a pass',
  async (t) => {
    const one = pods(t);
    await one.client.pod.proxy!.drain(0);
    one.connect();
    t.equal(one.client.path.passed, 0);
    t.equal(one.client.redirected.length, 1, 'the listener says that it drains');
    t.end();
  },
);

/** A packet with one bit of its payload changed, from its end, and a right checksum. */
function forged(bytes: Uint8Array, fromEnd: number): Uint8Array {
  const result = bytes.slice();
  result[result.length - fromEnd]! ^= 1;
  finishPacket(result, 4, 20);
  return result;
}

t.test('nfqueue passes attack: a Reply whose MAC is wrong opens nothing', (t) => {
  const one = pods(t);
  one.network.onPacket = (bytes, from) => (from === 'server' ? forged(bytes, 1) : bytes);
  one.connect();
  t.equal(one.client.path.passed, 1, 'the SYN went by a pass, and its answer did not');
  t.equal(one.client.tcp.state, 'reset');
  t.equal(one.client.pod.counts.at(-1), 'outbound deny proof-invalid unproven none');
  t.end();
});

t.test(
  'nfqueue passes attack: a Hello with a wrong binder or admission MAC, and one that was changed, is not answered by a pass',
  (t) => {
    for (const [what, fromEnd, reason] of [
      ['admission', 1, 'token-untrusted'],
      ['binder', 17, 'token-untrusted'],
      ['counter', 33, 'token-untrusted'],
      ['token', 100, 'token-untrusted'],
    ] as const) {
      const one = pods(t);
      one.network.onPacket = (bytes, from) => (from === 'client' ? forged(bytes, fromEnd) : bytes);
      one.connect();
      t.equal(one.server.path.passed, 0, what);
      t.equal(one.server.tcp.state, 'listen', what);
      t.match(one.server.pod.counts.at(-1), `inbound deny ${reason}`, what);
    }
    t.end();
  },
);

t.test('nfqueue passes attack: a Hello or a Reply under a wrong checksum changes nothing', (t) => {
  const one = pods(t);
  one.network.onPacket = (bytes) => {
    const result = bytes.slice();
    result[36]! ^= 1;
    return result;
  };
  one.connect();
  t.equal(one.server.path.passed, 0);
  t.equal(one.server.tcp.state, 'listen');
  t.equal(one.client.pod.counts.length, 2, 'TCP says it again');
  t.end();
});

t.test(
  'nfqueue passes attack: a Hello that comes from another address, or to another port, does not go by a pass',
  (t) => {
    const one = pods(t);
    one.network.connect({ sourcePort: 50_000 });
    one.client.tcp.connect();
    const syn = one.network.wire.at(-1)!.bytes;
    for (const at of [15, 23]) {
      const other = syn.slice();
      other[at]! ^= 64;
      finishPacket(other, 4, 20);
      one.server.receive(other);
      t.equal(one.server.path.passed, 0, 'TypeScript judges it');
    }
    t.end();
  },
);
