import t from 'tap';
import { FrameFormat } from '../../src/handshake/format.ts';
import { decodeClusterPolicy } from '../../src/policy/decode-cluster.ts';
import type { NetworkPolicy } from '../../src/policy/model.ts';
import { until } from '../support/until.ts';
import { End } from './simulated-socket.ts';
import { NODE_ADDRESS, Simulation } from './simulation.ts';

/** Isolates `app: beer` and lets in who has `beer: approved`. */
function onlyApproved(direction: 'Ingress' | 'Egress' = 'Ingress'): NetworkPolicy {
  const selector = (labels: Record<string, string>) => ({ matchLabels: labels, matchExpressions: [] });
  const peers = [
    { kind: 'pods', podSelector: selector({ beer: 'approved' }), namespaceSelector: undefined },
  ] as const;
  const rules = [{ peers, ports: undefined }];
  return {
    namespace: 'demo',
    name: 'beer',
    podSelector: selector({ app: 'beer' }),
    policyTypes: [direction],
    ingress: direction === 'Ingress' ? rules : [],
    egress: direction === 'Egress' ? rules : [],
  };
}

function beerWorld(options: { policies?: NetworkPolicy[]; greeting?: string; probePorts?: number[] } = {}) {
  const world = new Simulation();
  const beer = world.pod('beer', { app: 'beer' }, options);
  const approved = world.pod('approved', { beer: 'approved' });
  const other = world.pod('other', {});
  const plain = world.pod('plain', { beer: 'approved' }, { sidecar: false });
  world.policies = options.policies ?? [onlyApproved()];
  world.publish();
  return { world, beer, approved, other, plain };
}

t.test('life: an approved client talks to the server, both proven, bytes unaltered', async (t) => {
  const { world, beer, approved } = beerWorld();
  const client = approved.connect(beer.address);
  client.say('one, ');
  await world.settle();
  client.say('two');
  await world.settle();
  const server = beer.accepted[0]!;
  t.equal(server.text, 'one, two');
  server.say('cheers');
  await world.settle();
  t.equal(client.text, 'cheers');
  t.strictSame(beer.counts, ['inbound allow policy-allowed proven full']);
  t.strictSame(approved.counts, ['outbound allow not-isolated proven full']);
  t.strictSame(beer.records, [], 'no record before the end');
  client.finish();
  await world.settle();
  server.finish();
  await world.settle();
  t.match(beer.records, [
    {
      facts: {
        source: { namespace: 'demo', pod: 'approved' },
        destination: { namespace: 'demo', pod: 'beer', port: 80 },
      },
      judgement: { verdict: 'allow', policy: 'networkpolicy/demo/beer', rule: 1 },
      ending: { bytesIn: 8, bytesOut: 6 },
    },
  ]);
  t.equal(approved.records.length, 1);
  t.strictSame([...beer.defects, ...approved.defects], []);
});

t.test('life: the second connection resumes', async (t) => {
  const { world, beer, approved } = beerWorld();
  for (let round = 0; round < 2; round++) {
    approved.connect(beer.address).say('hi');
    await world.settle();
  }
  t.strictSame(beer.counts.at(-1), 'inbound allow policy-allowed proven resumed');
  t.strictSame(approved.counts.at(-1), 'outbound allow not-isolated proven resumed');
  t.equal(beer.accepted[1]!.text, 'hi');
});

t.test(
  'life: a client that policy does not name never reaches the application, and both sides know why',
  async (t) => {
    const { world, beer, other } = beerWorld();
    const client = other.connect(beer.address);
    client.say('beer!');
    await world.settle();
    t.equal(beer.accepted.length, 0);
    t.equal(client.gone, 'reset');
    t.strictSame(beer.counts, ['inbound deny policy-denied proven full']);
    t.strictSame(other.counts, ['outbound deny refused-by-peer proven full']);
    t.match(beer.records[0]?.judgement.detail, /would match if the peer had beer=approved/);
    t.equal(beer.records.length, 1);
  },
);

t.test(
  'life: a client without a sidecar is refused on its first bytes, whatever labels its pod has',
  async (t) => {
    const { world, beer, plain } = beerWorld();
    const client = plain.connect(beer.address);
    client.say('GET /');
    await world.settle();
    t.equal(client.gone, 'reset');
    t.equal(beer.accepted.length, 0);
    t.strictSame(beer.counts, ['inbound deny unproven-denied unproven none']);
  },
);

t.test(
  'life: a caller that leaves before a word is no refusal of a sidecar, but of a pod without one',
  async (t) => {
    const { world, beer, approved, plain } = beerWorld();
    for (const { address, marked } of [
      { address: approved.address, marked: true },
      { address: approved.address, marked: false },
      { address: plain.address, marked: false },
    ]) {
      for (const leave of ['finish', 'reset'] as const) {
        const [caller, far] = End.pair();
        world.arrive({ address, port: 40_000 }, { address: beer.address, port: 80 }, far, marked);
        await world.settle();
        caller[leave]();
        await world.settle();
      }
    }
    const unheard = 'inbound deny handshake-aborted unproven none';
    const unproven = 'inbound deny unproven-denied unproven none';
    t.strictSame(beer.counts, [unheard, unheard, unheard, unheard, unproven, unproven]);
    t.equal(beer.accepted.length, 0);
  },
);

t.test(
  'life: without isolation a client without a sidecar is served at once, also when the server speaks first',
  async (t) => {
    const { world, beer, plain } = beerWorld({ policies: [], greeting: '220 ready' });
    const client = plain.connect(beer.address);
    await world.settle();
    t.equal(client.text, '220 ready');
    client.say('EHLO');
    await world.settle();
    t.equal(beer.accepted[0]!.text, 'EHLO');
    client.finish();
    beer.accepted[0]!.finish();
    await world.settle();
    t.strictSame(beer.counts, ['inbound allow not-isolated unproven none']);
  },
);

t.test('life: a SYN that lost its mark does not cost the connection', async (t) => {
  const { world, beer, approved } = beerWorld();
  world.marksSurvive = false;
  const client = approved.connect(beer.address);
  client.say('hello');
  await world.settle();
  t.equal(beer.accepted[0]?.text, 'hello');
  t.strictSame(beer.counts, ['inbound allow policy-allowed proven full']);
});

t.test('life: a lost mark without isolation: the preamble never reaches the application', async (t) => {
  const { world, beer, approved } = beerWorld({ policies: [] });
  world.marksSurvive = false;
  const client = approved.connect(beer.address);
  client.say('hello');
  await world.settle();
  t.strictSame(
    beer.accepted.map((one) => one.text),
    ['', 'hello'],
    'the application was dialled before the preamble was seen, and once more after it',
  );
  t.strictSame(beer.counts, ['inbound allow not-isolated proven full'], 'and is counted once');
});

t.test(
  'life: one lost mark before a server that speaks first: the preamble is heard all the same',
  async (t) => {
    const { world, beer, approved } = beerWorld({ policies: [], greeting: '220 ready' });
    world.marksSurvive = false;
    const client = approved.connect(beer.address);
    await world.settle();
    t.equal(client.text, '220 ready');
    t.equal(beer.counts.at(-1), 'inbound allow not-isolated proven full');
    for (const app of beer.accepted) t.equal(app.text, '', 'no preamble byte reached it');
  },
);

t.test(
  'life: a preamble after the application has spoken resets the connection and reaches nobody',
  async (t) => {
    const { world, beer, plain } = beerWorld({ policies: [], greeting: '220 ready' });
    const client = plain.connect(beer.address);
    await world.settle();
    t.equal(client.text, '220 ready');
    client.write(FrameFormat.magic);
    await world.settle();
    t.equal(client.gone, 'reset');
    t.equal(beer.accepted[0]!.text, '');
    t.equal(beer.counts.at(-1), 'inbound deny preamble-late unproven none');
  },
);

t.test('life: policy that appears cuts what it no longer allows, at once, and nothing else', async (t) => {
  const { world, beer, approved, other } = beerWorld({ policies: [] });
  const good = approved.connect(beer.address);
  const bad = other.connect(beer.address);
  good.say('a');
  bad.say('b');
  await world.settle();
  t.equal(beer.accepted.length, 2);
  world.policies = [onlyApproved()];
  world.publish();
  await world.settle();
  t.equal(bad.gone, 'reset');
  t.equal(good.gone, undefined);
  t.strictSame(
    beer.records.map(({ judgement, facts }) => [judgement.verdict, judgement.reason, facts.source.pod]),
    [['deny', 'policy-changed', 'other']],
  );
  t.strictSame(beer.counts.slice(2), ['inbound deny policy-changed proven full']);
  world.policies = [];
  world.publish();
  const again = other.connect(beer.address);
  again.say('c');
  await world.settle();
  t.equal(beer.accepted[2]?.text, 'c');
});

t.test("life: a change of the peer's labels cuts what policy no longer allows", async (t) => {
  const { world, beer, approved } = beerWorld();
  const client = approved.connect(beer.address);
  client.say('a');
  await world.settle();
  approved.believed = { ...approved.pod, labels: {} };
  world.publish();
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(beer.records[0]?.judgement.reason, 'policy-changed');
  const again = approved.connect(beer.address);
  again.say('b');
  await world.settle();
  t.equal(
    beer.counts.at(-1),
    'inbound deny policy-denied proven resumed',
    'and the next one, resumed or not',
  );
});

t.test("life: a change of the own pod's labels is judged as well", async (t) => {
  const { world, beer, other } = beerWorld({ policies: [onlyApproved()] });
  beer.pod = { ...beer.pod, labels: {} };
  beer.believed = beer.pod;
  world.publish();
  const client = other.connect(beer.address);
  client.say('a');
  await world.settle();
  t.equal(beer.accepted.length, 1);
  beer.pod = { ...beer.pod, labels: { app: 'beer' } };
  beer.believed = beer.pod;
  world.publish();
  await world.settle();
  t.equal(client.gone, 'reset');
});

t.test('life: a pod that left the source is cut and its identity refused', async (t) => {
  const { world, beer, approved } = beerWorld();
  const client = approved.connect(beer.address);
  client.say('a');
  await world.settle();
  approved.believed = undefined;
  beer.source.publish(world.snapshotFor(beer));
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(beer.counts.at(-1), 'inbound deny identity-revoked proven full');
  approved.connect(beer.address).say('b');
  await world.settle();
  t.equal(beer.counts.at(-1), 'inbound deny identity-revoked proven full');
  t.equal(beer.accepted.length, 1);
});

t.test('life: an issuer key that is trusted no more cuts the connections that it vouched for', async (t) => {
  const { world, beer, approved } = beerWorld();
  const client = approved.connect(beer.address);
  client.say('a');
  await world.settle();
  world.trustedKeyId = 'issuer-2';
  beer.proxy!.identityChanged();
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(beer.counts.at(-1), 'inbound deny identity-revoked proven full');
});

t.test(
  'life: a cluster policy that denies by label refuses the proven pod, and who might be that pod',
  async (t) => {
    const { world, beer, approved, other, plain } = beerWorld({ policies: [] });
    const decoded = decodeClusterPolicy({
      apiVersion: 'policy.networking.k8s.io/v1alpha2',
      kind: 'ClusterNetworkPolicy',
      metadata: { name: 'no-approved' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        ingress: [
          {
            action: 'Deny',
            from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { beer: 'approved' } } } }],
          },
        ],
      },
    });
    if ('problems' in decoded) throw new Error(JSON.stringify(decoded.problems));
    world.clusterPolicies = [decoded.policy];
    world.publish();
    for (const pod of [approved, other, plain]) {
      pod.connect(beer.address).say(pod.pod.name);
      await world.settle();
    }
    t.strictSame(
      beer.accepted.map((app) => app.text),
      ['other'],
    );
    t.strictSame(beer.counts, [
      'inbound deny policy-denied proven full',
      'inbound allow not-isolated proven full',
      'inbound deny unproven-denied unproven none',
    ]);
    t.match(beer.records[0]?.judgement, { policy: 'clusternetworkpolicy/no-approved', rule: 1 });
  },
);

t.test('life: audit records what it would deny and cuts nothing', async (t) => {
  const { world, beer, other, plain } = beerWorld();
  world.mode = 'audit';
  world.publish();
  const client = other.connect(beer.address);
  client.say('a');
  const silent = plain.connect(beer.address);
  silent.say('b');
  await world.settle();
  t.equal(beer.accepted.length, 2);
  silent.finish();
  await world.settle();
  for (const one of beer.accepted) one.finish();
  client.finish();
  await world.settle();
  t.strictSame(beer.counts.toSorted(), [
    'inbound would_deny policy-denied proven full',
    'inbound would_deny unproven-denied unproven none',
  ]);
  t.strictSame(
    beer.records.map((one) => one.judgement.verdict),
    ['would_deny', 'would_deny'],
  );
});

t.test(
  'life: what a change would cut is recorded by audit at once, and cut when enforcing begins',
  async (t) => {
    const { world, beer, other, plain } = beerWorld({ policies: [] });
    world.mode = 'audit';
    world.publish();
    const client = other.connect(beer.address);
    client.say('a');
    await world.settle();
    world.policies = [onlyApproved('Ingress')];
    world.publish();
    await world.settle();
    t.equal(client.gone, undefined);
    t.match(beer.records, [{ judgement: { verdict: 'would_deny', reason: 'policy-changed' } }]);
    client.say('bc');
    world.publish();
    await world.settle();
    t.equal(beer.accepted[0]?.text, 'abc');
    t.equal(beer.records.length, 1, 'and once');
    const silent = plain.connect(beer.address);
    silent.say('d');
    await until('no preamble has followed for long enough', () => beer.records.length === 2);
    world.mode = 'enforce';
    world.publish();
    await world.settle();
    t.equal(client.gone, 'reset');
    t.equal(silent.gone, 'reset');
    t.strictSame(
      beer.records.slice(1).map(({ judgement }) => `${judgement.verdict} ${judgement.reason}`),
      ['would_deny unproven-denied', 'deny policy-changed', 'deny policy-changed'],
    );
    t.strictSame(beer.counts, [
      'inbound allow not-isolated proven full',
      'inbound would_deny policy-changed proven full',
      'inbound would_deny unproven-denied unproven none',
      'inbound deny policy-changed proven full',
      'inbound deny policy-changed unproven none',
    ]);
  },
);

t.test(
  'life: bytes of a connection that audit recorded while it was open are counted to its end',
  async (t) => {
    const { world, beer, other } = beerWorld();
    world.mode = 'audit';
    world.publish();
    const client = other.connect(beer.address);
    client.say('abc');
    await world.settle();
    t.equal(beer.records.length, 1, 'it is recorded while it is open');
    client.say('de');
    client.finish();
    beer.accepted[0]!.finish();
    await world.settle();
    t.equal(beer.records.length, 1);
    t.equal(beer.bytes.in, 5);
  },
);

t.test('life: a change before an unproven verdict has settled is not lost in audit mode', async (t) => {
  const { world, beer, plain } = beerWorld({ policies: [] });
  world.mode = 'audit';
  world.publish();
  const client = plain.connect(beer.address);
  client.say('a');
  await world.settle(0);
  world.policies = [onlyApproved('Ingress')];
  world.publish();
  await world.settle();
  await until('no preamble has followed for long enough', () => beer.records.length === 1);
  t.strictSame(beer.counts, [
    'inbound allow not-isolated unproven none',
    'inbound would_deny policy-changed unproven none',
  ]);
});

t.test('life: audit does not soften a broken proof', async (t) => {
  const { world, beer, other, approved } = beerWorld();
  world.mode = 'audit';
  world.publish();
  other.credentials = { ...other.credentials!, token: approved.credentials!.token };
  const client = other.connect(beer.address);
  client.say('a');
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(beer.counts[0], 'inbound deny proof-invalid unproven none');
  t.equal(beer.accepted.length, 0);
});

t.test('life: egress policy refuses at home, without a packet', async (t) => {
  const { world, beer, approved, other } = beerWorld({ policies: [onlyApproved('Egress')] });
  const refused = beer.connect(other.address);
  refused.say('a');
  const passed = beer.connect(approved.address);
  passed.say('b');
  await world.settle();
  t.equal(refused.gone, 'reset');
  t.strictSame(beer.counts, [
    'outbound deny policy-denied unproven none',
    'outbound allow policy-allowed proven full',
  ]);
  t.strictSame(
    beer.dataPath!.dialled.map((one) => one.address),
    [approved.address],
  );
  t.equal(approved.accepted[0]?.text, 'b');
});

t.test(
  'life: a server that is not enrolled, though the source says so, is dialled twice and then called silent',
  async (t) => {
    const { world, approved } = beerWorld();
    const liar = world.pod('liar', {}, { sidecar: false });
    liar.believed = { ...liar.pod, enrolled: true };
    liar.greeting = '220 mail';
    world.publish();
    const client = approved.connect(liar.address);
    client.say('EHLO');
    await world.settle();
    t.equal(client.gone, 'reset');
    t.equal(approved.counts[0], 'outbound deny peer-silent unproven none');
    t.equal(approved.dataPath!.dialled.length, 2);
    for (const app of liar.accepted) t.notMatch(app.text, /EHLO/, 'no application byte went');
    approved.connect(liar.address).say('x');
    await world.settle();
    t.equal(approved.dataPath!.dialled.length, 2, 'remembered for a moment');
    t.equal(approved.counts[1], 'outbound deny peer-silent unproven none');
  },
);

t.test('life: an enrolled server that the source does not call so is reached without proof', async (t) => {
  const { world, beer, approved } = beerWorld({ policies: [] });
  beer.believed = { ...beer.pod, enrolled: false };
  world.publish();
  const client = approved.connect(beer.address);
  client.say('hi');
  await world.settle();
  t.equal(beer.accepted[0]?.text, 'hi');
  t.equal(approved.counts[0], 'outbound allow not-isolated unproven none');
});

t.test('life: another pod answering at an address is refused, however valid its identity', async (t) => {
  const world = new Simulation();
  const beer = world.pod('beer', { app: 'beer' });
  const approved = world.pod('approved', { beer: 'approved' });
  beer.believed = { ...beer.pod, name: 'expected', uid: 'uid-expected' };
  world.publish();
  const client = approved.connect(beer.address);
  client.say('secret');
  await world.settle(1200);
  t.equal(client.gone, 'reset');
  t.equal(approved.counts[0], 'outbound deny wrong-peer proven full');
  t.equal(beer.accepted.length, 0);
});

t.test('life: a Service address leads to an endpoint, and a Service without one is refused', async (t) => {
  const { world, beer, approved } = beerWorld();
  const endpoint = {
    address: beer.address,
    port: 8080,
    ready: true,
    servingWhileTerminating: false,
    nodeName: undefined,
  };
  const service = { namespace: 'demo', service: 'beer', clientIpAffinity: false, localTraffic: false };
  world.services.push(
    { address: '10.96.0.1', port: 80, service: { ...service, endpoints: [endpoint] } },
    { address: '10.96.0.2', port: 80, service: { ...service, endpoints: [] } },
  );
  world.publish();
  const client = approved.connect('10.96.0.1');
  client.say('a');
  const nowhere = approved.connect('10.96.0.2');
  await world.settle();
  t.equal(beer.accepted[0]?.text, 'a');
  t.match(approved.dataPath!.dialled, [{ address: beer.address, port: 8080 }]);
  t.equal(nowhere.gone, 'reset');
  t.ok(approved.counts.includes('outbound deny no-endpoint unproven none'));
});

t.test(
  'life: a Service whose endpoints prove nothing is dialled as it stands, if all of them may be reached',
  async (t) => {
    const { world, beer, plain } = beerWorld({ policies: [onlyApproved('Egress')] });
    const forbidden = world.pod('forbidden', {}, { sidecar: false });
    const service = { namespace: 'demo', service: 'plain', clientIpAffinity: false, localTraffic: false };
    const end = (address: string) => ({
      address,
      port: 80,
      ready: true,
      servingWhileTerminating: false,
      nodeName: undefined,
    });
    world.services.push(
      { address: '10.96.0.1', port: 80, service: { ...service, endpoints: [end(plain.address)] } },
      {
        address: '10.96.0.2',
        port: 80,
        service: { ...service, endpoints: [end(forbidden.address), end(plain.address)] },
      },
      { address: '10.96.0.3', port: 80, service: { ...service, endpoints: [end(forbidden.address)] } },
    );
    world.publish();
    for (const vip of ['10.96.0.1', '10.96.0.2', '10.96.0.3']) beer.connect(vip).say('x');
    await world.settle();
    t.strictSame(
      beer.dataPath!.dialled.map((one) => one.address),
      ['10.96.0.1', plain.address],
      'the Service itself, an allowed endpoint of the mixed one, and nothing of the forbidden one',
    );
    t.equal(plain.accepted.length, 1);
  },
);

t.test('life: of two endpoints the one that does not answer is not tried twice', async (t) => {
  const { world, beer, approved } = beerWorld({ policies: [] });
  const holder = world.pod('gone', {}, { address: '10.0.0.77', sidecar: false });
  holder.believed = { ...holder.pod, enrolled: true };
  holder.listening = false;
  const end = (address: string) => ({
    address,
    port: 80,
    ready: true,
    servingWhileTerminating: false,
    nodeName: undefined,
  });
  const service = { namespace: 'demo', service: 'beer', clientIpAffinity: false, localTraffic: false };
  const endpoints = [end('10.0.0.77'), end(beer.address)];
  world.services.push({ address: '10.96.0.1', port: 80, service: { ...service, endpoints } });
  world.publish();
  const client = approved.connect('10.96.0.1');
  client.say('a');
  await world.settle();
  t.equal(beer.accepted[0]?.text, 'a');
  t.strictSame(
    approved.dataPath!.dialled.map((one) => one.address),
    ['10.0.0.77', '10.0.0.77', '10.0.0.77', beer.address],
    'as often as any dial that is refused, and then the other',
  );
});

t.test(
  'life: a dial that is refused is made again, since the refusal may be for its port alone',
  async (t) => {
    const { world, beer, approved, plain } = beerWorld({ policies: [] });
    for (const server of [beer, plain]) {
      for (const refusals of [1, 2, 3]) {
        approved.dataPath!.refusals = refusals;
        const before = approved.dataPath!.dialled.length;
        const client = approved.connect(server.address);
        client.say('a');
        await world.settle();
        // With a handshake there is a second attempt, of as many dials.
        const reached = refusals < 3 || server === beer;
        t.equal(client.gone, reached ? undefined : 'reset', `${refusals} refusals`);
        t.equal(approved.dataPath!.dialled.length - before, reached ? refusals + 1 : 3);
      }
    }
  },
);

t.test('life: a refused resumption is refused by somebody who has proven who he is', async (t) => {
  const { world, beer, approved } = beerWorld();
  approved.connect(beer.address).say('a');
  await world.settle();
  approved.believed = { ...approved.pod, labels: {} };
  world.publish();
  approved.connect(beer.address).say('b');
  await world.settle();
  t.equal(approved.counts.at(-1), 'outbound deny refused-by-peer proven resumed');
});

t.test(
  'life: an address that nobody knows is held for a moment, and served when the source learns it',
  async (t) => {
    const { world, beer, approved } = beerWorld();
    const believed = beer.believed;
    beer.believed = undefined;
    approved.source.publish(world.snapshotFor(approved));
    const client = approved.connect(beer.address);
    client.say('a');
    await world.settle(200);
    t.equal(client.gone, undefined);
    beer.believed = believed;
    world.publish();
    await world.settle();
    t.equal(beer.accepted[0]?.text, 'a');

    const lost = approved.connect('10.0.99.99');
    await world.settle(1100);
    t.equal(lost.gone, 'reset');
    t.equal(approved.counts.at(-1), 'outbound deny address-unknown unproven none');
  },
);

t.test('life: nothing passes before policy is there', async (t) => {
  const world = new Simulation();
  const beer = world.pod('beer', {});
  const plain = world.pod('plain', {}, { sidecar: false });
  const client = plain.connect(beer.address);
  client.say('x');
  const out = beer.connect(plain.address);
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(out.gone, 'reset');
  t.strictSame(beer.counts, [
    'inbound deny not-ready unproven none',
    'outbound deny not-ready unproven none',
  ]);
});

t.test(
  'life: without an own identity an enrolled server is not called, and a preamble not answered',
  async (t) => {
    const { world, beer, approved } = beerWorld();
    const { credentials } = approved;
    approved.credentials = undefined;
    const client = approved.connect(beer.address);
    await world.settle();
    t.equal(client.gone, 'reset');
    t.equal(approved.counts[0], 'outbound deny identity-unavailable unproven none');
    approved.credentials = credentials;
    beer.credentials = undefined;
    const second = approved.connect(beer.address);
    second.say('x');
    await world.settle();
    t.equal(second.gone, 'reset');
    t.equal(beer.counts[0], 'inbound deny identity-unavailable unproven none');
    t.equal(beer.accepted.length, 0);
  },
);

t.test('life: the own node reaches declared probe ports and nothing else', async (t) => {
  const { world, beer } = beerWorld({ probePorts: [8080] });
  const probe = (port: number) => {
    const [app, far] = End.pair();
    world.arrive({ address: NODE_ADDRESS, port: 1 }, { address: beer.address, port }, far, false);
    app.say('GET /healthz');
    return app;
  };
  const allowed = probe(8080);
  const refused = probe(80);
  await world.settle(700);
  t.equal(beer.accepted[0]?.text, 'GET /healthz');
  t.equal(refused.gone, 'reset');
  t.equal(allowed.gone, undefined);
  beer.accepted[0]!.finish();
  allowed.finish();
  await world.settle();
  t.strictSame(beer.counts.toSorted(), [
    'inbound allow node-probe node none',
    'inbound deny unproven-denied node none',
  ]);
});

t.test('life: an application that is not there: nobody is told that all is well', async (t) => {
  const { world, beer, approved } = beerWorld();
  beer.listening = false;
  const client = approved.connect(beer.address);
  client.say('x');
  await world.settle();
  t.equal(client.gone, 'reset');
  t.equal(beer.counts[0], 'inbound deny dial-failed proven full');
  t.equal(approved.counts[0], 'outbound deny refused-by-peer proven full');
});

t.test('life: drain refuses what is new and waits for what is open', async (t) => {
  const { world, beer, approved } = beerWorld();
  const client = approved.connect(beer.address);
  client.say('x');
  await world.settle();
  const drained = beer.proxy!.drain(2_000);
  const late = approved.connect(beer.address);
  await world.settle();
  t.equal(late.gone, 'reset');
  t.equal(client.gone, undefined);
  client.finish();
  beer.accepted[0]!.finish();
  t.equal(await drained, 0);
  t.ok(beer.counts.includes('inbound deny draining unproven none'));
});
