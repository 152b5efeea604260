/** Calls to a Service of several pods go by passes: who answers is proven, judged, counted and cut like any other. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import t from 'tap';
import { decodeFrame } from '../../src/handshake/frames.ts';
import { buildHello } from '../../src/handshake/hello.ts';
import { withPayload } from '../../src/nfqueue/packets-build.ts';
import { finishPacket } from '../../src/nfqueue/packets-checksum.ts';
import { payloadOf } from '../../src/nfqueue/packets.ts';
import { saidOf } from './passing-pods.ts';
import { allowFrom, noCalls } from './policies.ts';
import { ServicePods } from './service-pods.ts';
import { frameTypes, packetOf } from './wire-reading.ts';

type Test = { teardown: (end: () => Promise<unknown>) => unknown };

function warmed(t: Test, ...given: ConstructorParameters<typeof ServicePods>): ServicePods {
  const pods = new ServicePods(...given);
  t.teardown(() => pods.end());
  pods.warm();
  return pods;
}

/** The offers of the last Hello on the wire. */
function lastOffers({ wire }: ServicePods) {
  const syn = wire.findLast(({ bytes }) => frameTypes(bytes).includes('hello'))!.bytes;
  const frame = decodeFrame(payloadOf(packetOf(syn)));
  if (frame.type !== 'hello') throw new Error('no Hello');
  return frame.offers;
}

for (const [family, six] of [
  ['IPv4', false],
  ['IPv6', true],
] as const) {
  t.test(
    `nfqueue passes to a Service: over ${family} every call goes by passes on both sides, and is told as one without`,
    (t) => {
      const [byPass, alone] = [warmed(t, 3, true, six), warmed(t, 3, false, six)];
      for (const pods of [byPass, alone])
        for (const [index, to] of [2, 0, 1, 1, 2, 0].entries()) {
          pods.connect({ to, sourcePort: 50_000 + index });
          pods.client.tcp.write('question');
          pods.servers[to]!.tcp.write(`answer of ${to}`);
          pods.run();
          t.equal(pods.servers[to]!.tcp.received, 'question');
          t.equal(pods.client.tcp.received, `answer of ${to}`);
        }
      t.strictSame(byPass.passed, [12, 4, 4, 4], 'SYN and SYN-ACK on both sides');
      t.strictSame(alone.passed, [0, 0, 0, 0]);
      for (const [index, pod] of byPass.all.entries()) t.strictSame(saidOf(pod), saidOf(alone.all[index]!));
      const flows = [...byPass.client.proxy.flows.values()].slice(-6);
      t.strictSame(
        flows.map(({ flow }) => flow.facts.destination.pod),
        ['db-2', 'db-0', 'db-1', 'db-1', 'db-2', 'db-0'],
        'whose session answered is who was called',
      );
      t.end();
    },
  );
}

t.test('nfqueue passes to a Service: every call spends one counter of each session', (t) => {
  const pods = warmed(t, 4);
  const counters = (): Map<string, bigint> =>
    new Map(
      lastOffers(pods).map(({ sessionId, counter }) => [Buffer.from(sessionId).toString('hex'), counter]),
    );
  pods.connect({ to: 0 });
  const first = counters();
  t.equal(first.size, 4);
  for (const to of [3, 1, 2]) pods.connect({ to });
  t.equal(pods.passed[0], 8);
  for (const [id, counter] of counters()) t.equal(counter, first.get(id)! + 3n);
  t.end();
});

t.test(
  'nfqueue passes to a Service: a change of policy cuts what went by passes, and nothing goes by them any more',
  async (t) => {
    const pods = warmed(t, 3);
    for (const to of [0, 1, 2]) pods.connect({ to });
    t.strictSame(pods.passed, [6, 2, 2, 2]);
    pods.simulation.policies = [allowFrom('db', 'nobody')];
    pods.simulation.publish();
    await nextTurn();
    for (const { path } of pods.servers) t.equal(path.destroyed.length, 4);
    for (const to of [0, 1, 2]) {
      pods.connect({ to });
      t.equal(pods.client.tcp.state, 'reset');
    }
    t.strictSame(pods.passed.slice(1), [2, 2, 2]);
    pods.simulation.policies = [allowFrom('db', 'web'), noCalls('web')];
    pods.simulation.publish();
    await nextTurn();
    t.equal(pods.client.path.destroyed.length, 12, 'and the client cuts what it may not call');
  },
);

t.test(
  'nfqueue passes to a Service: a pod that has left it is asked by no pass, and refused when it answers',
  async (t) => {
    const pods = warmed(t, 3);
    pods.serve([0, 1]);
    await nextTurn();
    const passed = pods.client.path.passed;
    pods.connect({ to: 0 });
    t.equal(pods.client.path.passed, passed, 'all were taken back');
    for (const to of [1, 0]) pods.connect({ to });
    t.equal(pods.client.path.passed, passed + 4, 'and given for who is left');
    t.equal(lastOffers(pods).length, 2);
    pods.connect({ to: 2 });
    t.equal(pods.client.tcp.state, 'reset');
    t.match(pods.client.pod.counts.at(-1), /^outbound deny/);
  },
);

t.test('nfqueue passes to a Service: another pod is called in full once, and by passes from then on', (t) => {
  const pods = new ServicePods(3);
  t.teardown(() => pods.end());
  for (let round = 0; round < 3; round++) for (const to of [0, 1]) pods.connect({ to });
  const fulls = (): number => pods.client.pod.counts.filter((text) => text.endsWith('full')).length;
  t.equal(fulls(), 2);
  pods.connect({ to: 2 });
  t.equal(fulls(), 3);
  for (let round = 0; round < 2; round++) for (const to of [0, 1, 2]) pods.connect({ to });
  const before = pods.passed;
  for (const to of [0, 1, 2]) pods.connect({ to });
  t.equal(fulls(), 3);
  t.strictSame(
    pods.passed.map((count, index) => count - before[index]!),
    [6, 2, 2, 2],
  );
  t.end();
});

t.test('nfqueue passes to a Service: of more pods than a Hello has offers every call is answered', (t) => {
  const pods = new ServicePods(10);
  t.teardown(() => pods.end());
  for (let round = 0; round < 4; round++)
    for (let to = 0; to < 10; to++) {
      pods.connect({ to });
      t.equal(pods.client.tcp.state, 'established');
    }
  t.equal(lastOffers(pods).length, 8);
  t.strictSame(
    pods.all.flatMap(({ defects, pod }) => [...defects, ...pod.defects]),
    [],
  );
  t.end();
});

t.test(
  'nfqueue passes to a Service attack: a SYN that was answered is refused as a replay from another port',
  (t) => {
    const pods = warmed(t, 3);
    for (const to of [0, 1, 2]) {
      pods.connect({ to });
      const syn = pods.wire.findLast(({ bytes }) => frameTypes(bytes).includes('hello'))!.bytes.slice();
      const before = pods.passed;
      new DataView(syn.buffer).setUint16(20, 51_000 + to);
      finishPacket(syn, 4, 20);
      pods.servers[to]!.tcp.state = 'listen';
      pods.deliver(syn, to);
      t.strictSame(pods.passed, before);
      t.equal(pods.servers[to]!.tcp.state, 'listen', 'the application hears nothing');
      t.equal(pods.servers[to]!.pod.counts.at(-1), 'inbound deny replay unproven none');
    }
    t.end();
  },
);

t.test(
  'nfqueue passes to a Service attack: a Hello that offers two sessions of one pod is answered once, whoever answers it',
  (t) => {
    const pods = warmed(t, 3);
    const { sessions } = pods.client.pod.proxy!.surroundings;
    const own = (): ReturnType<typeof sessions.client.offer> =>
      sessions.client
        .offer(pods.address, performance.now())
        .filter(({ session }) => session.peer.podName === 'db-0');
    const [old] = own();
    // The client forgets what it has, the server does not.
    sessions.client.clear();
    pods.client.pod.proxy!.surroundings.passes.revoke();
    for (let round = 0; round < 3; round++) for (const to of [0, 1, 2]) pods.connect({ to });
    const [fresh] = own();
    t.notSame(old!.session.id, fresh!.session.id);
    const template = pods.wire.findLast(({ bytes }) => frameTypes(bytes).includes('hello'))!.bytes;
    const frame = decodeFrame(payloadOf(packetOf(template)));
    if (frame.type !== 'hello') throw new Error('no Hello');
    // As many offers as are foreseen, and the fresh one at its place.
    const ids = frame.offers.map(({ sessionId }) => Buffer.from(sessionId));
    const at = ids.findIndex((id) => id.equals(fresh!.session.id));
    t.ok(at > 0, 'there is a place before it');
    const { session: another } = sessions.client.offer(pods.address, performance.now())[0]!;
    const offers = ids.map((_, index) =>
      index === at
        ? { ...fresh!, counter: fresh!.counter + 100n }
        : index === 0
          ? { ...old!, counter: old!.counter + 100n }
          : { session: another, counter: 1_000_000n },
    );
    const hello = buildHello({ ...frame, offers, admissionKey: pods.simulation.admissionKey });
    const heard = [0, 1].map((index) => {
      pods.open({ to: 0, sourcePort: 52_000 + index });
      const syn = withPayload(packetOf(template), [hello]);
      new DataView(syn.buffer, syn.byteOffset).setUint16(20, 52_000 + index);
      finishPacket(syn, 4, 20);
      pods.deliver(syn, 0);
      return pods.servers[0]!.pod.counts.at(-1);
    });
    t.match(heard[0], /^inbound allow .* resumed$/);
    t.equal(heard[1], 'inbound deny replay unproven none');
    t.end();
  },
);
