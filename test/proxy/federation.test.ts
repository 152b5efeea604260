import t from 'tap';
import { IdentityKeeper } from '../../src/identity/identity-keeper.ts';
import { IdentityState, ownToken } from '../../src/identity/identity-state.ts';
import { issueToken, type SigningKey } from '../../src/identity/issue.ts';
import { generateOwnKey } from '../../src/identity/keys.ts';
import { parseFederatedTrust } from '../../src/identity/trust.ts';
import { TrustInForce } from '../../src/identity/trust-in-force.ts';
import type { Pod } from '../../src/peers/directory.ts';
import type { NetworkPolicy, PolicyPeer } from '../../src/policy/model.ts';
import { type Entry, entryOf, federatedText } from '../identity/federated.ts';
import { sampleDomain } from '../identity/samples.ts';
import { type PodOptions, type SimulatedPod, Simulation } from './simulation.ts';

type Domain = ReturnType<typeof sampleDomain>;

/** A sidecar's identity with real tokens and a trust bundle that a test replaces. */
class Identity extends IdentityKeeper {
  proxy: { identityChanged(): void } | undefined;
  readonly #key = generateOwnKey();
  #jwt = '';

  async hold(signer: SigningKey, pod: Pod, text: string, ttl = 3600): Promise<void> {
    this.#jwt = await issueToken(signer, pod, {}, this.#key.publicKey, Date.now() / 1000, ttl);
    this.trust(text);
  }

  trust(text: string): void {
    const inForce = new TrustInForce(parseFederatedTrust(text, 'trust.jwks'), this.revocations);
    this.replace(
      () => new IdentityState(ownToken(this.#jwt), this.#key, inForce, Date.now() / 1000),
      inForce,
    );
    this.proxy?.identityChanged();
  }
}

interface Member {
  readonly sim: SimulatedPod;
  readonly identity: Identity;
  readonly text: (...entries: Entry[]) => string;
}

/** Where west calls east, through a router that translates both addresses; and where its callers seem to come from. */
const OUTSIDE = '203.0.113.10';
const ROUTER = '192.0.2.1';

/**
 * Two clusters with the same pod network, each a trust domain, and a router that translates addresses between them. `west` calls `shop` of `east` at an
 * address that is only the router's.
 */
async function twoClusters(
  options: { east?: Entry; west?: Entry; signer?: (east: Domain) => SigningKey } = {},
) {
  const domains = { east: sampleDomain('east.example'), west: sampleDomain('west.example') };
  const worlds = { east: new Simulation(), west: new Simulation() };
  const member = async (
    side: 'east' | 'west',
    name: string,
    labels: Record<string, string>,
    more: PodOptions = {},
  ) => {
    const identity = new Identity();
    const own = domains[side];
    // Functions of the access are called as such.
    const access = {
      credentials: () => identity.credentials(),
      ownAdmissionKey: () => identity.ownAdmissionKey(),
      admissionKeys: () => identity.admissionKeys(),
      verify: (token: Uint8Array) => identity.verify(token),
      explainUnadmitted: (token: Uint8Array) => identity.explainUnadmitted(token),
      stillHolds: (peer: Parameters<IdentityKeeper['stillHolds']>[0]) => identity.stillHolds(peer),
      foreignOwner: (address: string) => identity.foreignOwner(address),
    };
    const sim = worlds[side].pod(name, labels, { namespace: 'shop', ...more, identity: access });
    identity.proxy = sim.proxy!;
    const text = (...entries: Entry[]): string => federatedText(own, ...entries);
    const signer = side === 'west' ? (options.signer?.(domains.east) ?? own.signer) : own.signer;
    await identity.hold(own.signer, sim.pod, text());
    if (signer !== own.signer) await identity.hold(signer, sim.pod, text()).catch(() => {});
    return { sim, identity, text } satisfies Member;
  };
  const server = await member('east', 'db', { app: 'db' });
  const client = await member('west', 'web', { app: 'web' });
  const other = await member('west', 'other', { app: 'other' });
  worlds.west.nat.set(OUTSIDE, { to: server.sim, from: ROUTER });
  // How east says that the router's address leads to the pod: a Service with that external address.
  worlds.east.services.push({
    address: OUTSIDE,
    port: 80,
    service: {
      namespace: 'shop',
      service: 'db',
      clientIpAffinity: false,
      localTraffic: false,
      endpoints: [
        {
          address: server.sim.address,
          port: 80,
          ready: true,
          servingWhileTerminating: false,
          nodeName: undefined,
        },
      ],
    },
  });
  const west = entryOf(domains.west, {
    networks: [`${ROUTER}/32`],
    namespaces: [{ name: 'shop', as: 'shop.west', labels: { side: 'west' } }],
    ...options.west,
  });
  const east = entryOf(domains.east, { networks: [`${OUTSIDE}/32`], ...options.east });
  server.identity.trust(server.text(west));
  for (const one of [client, other]) one.identity.trust(one.text(east));
  const publish = (): void => {
    for (const world of Object.values(worlds)) world.publish();
  };
  publish();
  return { domains, worlds, server, client, other, west, east, publish };
}

const selector = (labels: Record<string, string>) => ({ matchLabels: labels, matchExpressions: [] });

function policyFor(app: string, direction: 'Ingress' | 'Egress', ...peers: PolicyPeer[]): NetworkPolicy {
  const rules = [{ peers, ports: undefined }];
  return {
    namespace: 'shop',
    name: `${app}-${direction.toLowerCase()}`,
    podSelector: selector({ app }),
    policyTypes: [direction],
    ingress: direction === 'Ingress' ? rules : [],
    egress: direction === 'Egress' ? rules : [],
  };
}

const pods = (podLabels?: Record<string, string>, namespaceLabels?: Record<string, string>): PolicyPeer => ({
  kind: 'pods',
  podSelector: podLabels && selector(podLabels),
  namespaceSelector: namespaceLabels && selector(namespaceLabels),
});

t.test('federation: two domains talk across a router that translates both addresses', async (t) => {
  const { worlds, server, client, publish } = await twoClusters();
  worlds.east.policies = [policyFor('db', 'Ingress', pods({ app: 'web' }, { side: 'west' }))];
  worlds.west.policies = [
    policyFor('web', 'Egress', pods({ app: 'db' }, { 'kubernetes.io/metadata.name': 'shop.east' })),
  ];
  publish();
  for (let round = 0; round < 2; round++) {
    const app = client.sim.connect(OUTSIDE);
    app.say('hello');
    await worlds.west.settle();
    server.sim.accepted[round]!.say('hi');
    await worlds.west.settle();
    t.equal(server.sim.accepted[round]!.text, 'hello');
    t.equal(app.text, 'hi');
    app.finish();
    await worlds.west.settle();
    server.sim.accepted[round]!.finish();
    await worlds.west.settle();
  }
  t.strictSame(server.sim.counts, [
    'inbound allow policy-allowed federated full',
    'inbound allow policy-allowed federated resumed',
  ]);
  t.strictSame(client.sim.counts, [
    'outbound allow policy-allowed federated full',
    'outbound allow policy-allowed federated resumed',
  ]);
  t.match(server.sim.records[0]!.facts, {
    source: { address: ROUTER, namespace: 'shop.west', pod: 'web', trustDomain: 'west.example' },
  });
  t.match(client.sim.records[0]!.facts, {
    destination: { address: OUTSIDE, namespace: 'shop.east', pod: 'db', trustDomain: 'east.example' },
  });
  t.strictSame([...server.sim.defects, ...client.sim.defects], []);
});

t.test('federation: policy denies on either side by proven labels', async (t) => {
  const { worlds, server, client, other, publish } = await twoClusters();
  worlds.east.policies = [policyFor('db', 'Ingress', pods({ app: 'web' }, { side: 'west' }))];
  publish();
  const denied = other.sim.connect(OUTSIDE);
  denied.say('hello');
  await worlds.west.settle();
  t.strictSame(server.sim.accepted, []);
  t.strictSame(server.sim.counts, ['inbound deny policy-denied federated full']);
  worlds.west.policies = [policyFor('web', 'Egress', pods({ app: 'web' }, {}))];
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.strictSame(server.sim.accepted, []);
  t.strictSame(client.sim.counts, ['outbound deny policy-denied federated full']);
});

t.test('federation: rules about the own namespace never mean a pod of another domain', async (t) => {
  const { worlds, server, client, publish } = await twoClusters();
  // Both namespaces are called shop, and the rule names its own one.
  worlds.east.policies = [policyFor('db', 'Ingress', pods({ app: 'web' }))];
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.strictSame(server.sim.accepted, []);
  t.strictSame(server.sim.counts, ['inbound deny policy-denied federated full']);
});

t.test('federation: an ipBlock means the address that the connection comes from: the router', async (t) => {
  const { worlds, server, client, publish } = await twoClusters();
  const block = (cidr: string): PolicyPeer => ({ kind: 'block', cidr, except: [] });
  worlds.east.policies = [policyFor('db', 'Ingress', block(`${client.sim.address}/32`))];
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.strictSame(
    server.sim.counts,
    ['inbound deny policy-denied federated full'],
    'not the address of the pod',
  );
  worlds.east.policies = [policyFor('db', 'Ingress', block(`${ROUTER}/32`))];
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.equal(server.sim.counts.at(-1), 'inbound allow policy-allowed federated full');
});

t.test('federation: without a mapping of its namespace a pod is refused, on either side', async (t) => {
  const elsewhere = { namespaces: [{ name: 'bank', as: 'bank.other' }] };
  const inbound = await twoClusters({ west: elsewhere });
  inbound.client.sim.connect(OUTSIDE).say('hello');
  await inbound.worlds.west.settle();
  t.strictSame(inbound.server.sim.accepted, []);
  t.strictSame(inbound.server.sim.counts, ['inbound deny foreign-domain unproven none']);
  const outbound = await twoClusters({ east: elsewhere });
  outbound.client.sim.connect(OUTSIDE).say('hello');
  await outbound.worlds.west.settle();
  t.strictSame(outbound.server.sim.accepted, []);
  t.strictSame(outbound.client.sim.counts, ['outbound deny foreign-domain unproven none']);
});

t.test(
  'federation: nothing goes in plain to the networks of a domain, whoever is believed there',
  async (t) => {
    for (const east of [{}, { keys: [] }, { namespaces: [] }, { valid_until: 1 }]) {
      const { worlds, client } = await twoClusters({ east });
      const plain = worlds.west.pod('plain', {}, { sidecar: false, greeting: 'welcome' });
      worlds.west.nat.set(OUTSIDE, { to: plain, from: ROUTER });
      const app = client.sim.connect(OUTSIDE);
      app.say('a secret');
      await worlds.west.settle();
      t.notMatch(plain.accepted.map((end) => end.text).join(''), /a secret/);
      t.not(app.text, 'welcome');
      t.notOk(client.sim.counts.some((count) => count.includes('allow')));
    }
  },
);

t.test('federation: a pod of the own domain does not answer in the networks of another one', async (t) => {
  const { worlds, client, other } = await twoClusters();
  worlds.west.nat.set(OUTSIDE, { to: other.sim, from: ROUTER });
  // It says that the address is its own, which its own source told it.
  other.sim.pod = { ...other.sim.pod, addresses: [other.sim.address, OUTSIDE] };
  other.sim.source.publish(worlds.west.snapshotFor(other.sim));
  client.sim.connect(OUTSIDE).say('a secret');
  await worlds.west.settle(2_500);
  t.equal(client.sim.counts.at(-1), 'outbound deny wrong-peer proven full');
  t.strictSame(other.sim.accepted.map((end) => end.text).join(''), '');
});

t.test('federation: a pod of another domain does not answer for one of the own', async (t) => {
  const { worlds, server, client, other } = await twoClusters();
  // Somebody between them leads the calls for a local pod to the other cluster, where a Service claims its address.
  worlds.west.nat.set(other.sim.address, { to: server.sim, from: ROUTER });
  const [lent] = worlds.east.services;
  worlds.east.services.push({ ...lent!, address: other.sim.address });
  worlds.east.publish();
  client.sim.connect(other.sim.address).say('a secret');
  await worlds.west.settle(2_500);
  t.equal(client.sim.counts.at(-1), 'outbound deny wrong-peer federated full');
  t.strictSame(server.sim.accepted.map((end) => end.text).join(''), '');
});

t.test('federation: a foreign pod with the uid and name of a local one is not that pod', async (t) => {
  const { worlds, server, domains, client, publish } = await twoClusters();
  // East has a pod web, with the very uid, and lets it in.
  const local = worlds.east.pod('web', { app: 'trusted' }, { namespace: 'shop', sidecar: false });
  t.equal(local.pod.uid, client.sim.pod.uid);
  worlds.east.policies = [policyFor('db', 'Ingress', pods({ app: 'trusted' }, {}))];
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.strictSame(server.sim.accepted, [], 'its labels are those of its token');
  t.strictSame(server.sim.counts, ['inbound deny policy-denied federated full']);
  // One with the uid of the server itself is not the server.
  const pod = { ...client.sim.pod, uid: server.sim.pod.uid };
  await client.identity.hold(
    domains.west.signer,
    pod,
    client.text(entryOf(domains.east, { networks: [`${OUTSIDE}/32`] })),
  );
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.strictSame(server.sim.accepted, [], 'nor does it call itself');
  t.equal(server.sim.counts.at(-1), 'inbound deny policy-denied federated full');
  // The deletion of the local one is none of the foreign one's business.
  await client.identity.hold(
    domains.west.signer,
    client.sim.pod,
    client.text(entryOf(domains.east, { networks: [`${OUTSIDE}/32`] })),
  );
  worlds.east.policies = [];
  worlds.east.pods.delete(local.address);
  publish();
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.equal(server.sim.counts.at(-1), 'inbound allow not-isolated federated full');
});

t.test('federation: a named port means one of this cluster, never one of another domain', async (t) => {
  const { worlds, client, publish } = await twoClusters();
  // West has a pod of that name, whose port 80 is called http.
  const local = worlds.west.pod('db', { app: 'db' }, { namespace: 'shop', sidecar: false });
  local.believed = { ...local.pod, ports: [{ name: 'http', port: 80, protocol: 'TCP' }] };
  const rule = { peers: [pods({}, {})], ports: [{ protocol: 'TCP', port: 'http' }] } as const;
  worlds.west.policies = [{ ...policyFor('web', 'Egress'), egress: [rule as never] }];
  publish();
  client.sim.connect(local.address).say('hello');
  await worlds.west.settle();
  t.equal(client.sim.counts.at(-1), 'outbound allow policy-allowed unproven none');
  client.sim.connect(OUTSIDE).say('hello');
  await worlds.west.settle();
  t.equal(client.sim.counts.at(-1), 'outbound deny policy-denied federated full');
});

t.test('federation: removing the domain cuts what is open and resumes nothing, on either side', async (t) => {
  for (const side of ['server', 'client'] as const) {
    const clusters = await twoClusters();
    const { worlds, server, client } = clusters;
    const app = client.sim.connect(OUTSIDE);
    app.say('hello');
    await worlds.west.settle();
    t.equal(server.sim.accepted[0]!.text, 'hello');
    const one = clusters[side];
    one.identity.trust(one.text());
    await worlds.west.settle();
    const direction = side === 'server' ? 'inbound' : 'outbound';
    t.equal(one.sim.counts.at(-1), `${direction} deny identity-revoked federated full`);
    app.say('more');
    await worlds.west.settle();
    t.equal(server.sim.accepted[0]!.text, 'hello', 'nothing more arrives');
    if (side === 'client') continue;
    client.sim.connect(OUTSIDE).say('again');
    await worlds.west.settle();
    t.equal(server.sim.counts.at(-1), 'inbound deny foreign-domain external none');
    t.equal(server.sim.accepted.length, 1);
  }
});

t.test('federation: another key of the other domain counts at once, the old one no more', async (t) => {
  const { worlds, server, client, west, domains } = await twoClusters();
  client.sim.connect(OUTSIDE).say('old');
  await worlds.west.settle();
  const next = sampleDomain('west.example');
  server.identity.trust(server.text({ ...west, keys: [domains.west.publicJwk, next.publicJwk] }));
  await worlds.west.settle();
  client.sim.connect(OUTSIDE).say('overlap');
  await worlds.west.settle();
  t.equal(server.sim.counts.at(-1), 'inbound allow not-isolated federated full');
  t.equal(server.sim.proxy!.open.count('inbound'), 2, 'what was open stays');
  server.identity.trust(server.text({ ...west, keys: [next.publicJwk] }));
  await worlds.west.settle();
  t.equal(server.sim.proxy!.open.count('inbound'), 0, 'it ends with its key');
  client.sim.connect(OUTSIDE).say('too late');
  await worlds.west.settle();
  t.equal(server.sim.counts.at(-1), 'inbound deny token-untrusted unproven none');
});

t.test('federation: an unproven caller from the networks of a domain is nobody certain', async (t) => {
  const { worlds, server, publish } = await twoClusters();
  const plain = worlds.west.pod('plain', { app: 'web' }, { sidecar: false });
  worlds.east.policies = [policyFor('db', 'Ingress', pods({}, {}))];
  publish();
  plain.connect(OUTSIDE).say('hello');
  await worlds.west.settle(4_000);
  t.strictSame(server.sim.accepted, []);
  t.strictSame(server.sim.counts, ['inbound deny unproven-denied unproven none']);
});
