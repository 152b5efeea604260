import fc from 'fast-check';
import t from 'tap';
import { UserError } from '../../src/errors.ts';
import { toCompact } from '../../src/identity/compact.ts';
import { domainAt } from '../../src/identity/federation.ts';
import { IdentityKeeper } from '../../src/identity/identity-keeper.ts';
import { IdentityState } from '../../src/identity/identity-state.ts';
import { parseFederatedTrust, parseSharedSecret, parseTrustBundle } from '../../src/identity/trust.ts';
import { TrustInForce } from '../../src/identity/trust-in-force.ts';
import { type ProvenIdentity, TokenVerifier } from '../../src/identity/verify.ts';
import { generateSharedSecret } from '../../src/identity/keys.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import { EAST, entryOf, federatedText, twoDomains } from './federated.ts';
import { DOMAIN, NOW, OWN_KEY, sampleDomain, samplePod, sampleToken } from './samples.ts';

const wire = async (...args: Parameters<typeof sampleToken>) => toCompact(await sampleToken(...args));
const pod = samplePod();

t.test(
  'federation: a pod of a mapped namespace is what the mapping says, and qualified by its domain',
  async (t) => {
    const { east, trust } = twoDomains();
    const verified = trust.verify(await wire(east.signer), NOW);
    t.match(verified, {
      identity: {
        foreignDomain: EAST,
        trustDomain: EAST,
        namespace: 'shop.east',
        podUid: `${EAST}/${pod.uid}`,
        podName: pod.name,
        labels: { app: 'web' },
      },
    });
    t.strictSame('identity' in verified && verified.identity.namespaceLabels, {
      side: 'east',
      'kubernetes.io/metadata.name': 'shop.east',
    });
  },
);

t.test('federation: a pod of the own domain is what it was', async (t) => {
  const { own, trust } = twoDomains();
  const verified = trust.verify(await wire(own.signer), NOW);
  t.match(verified, { identity: { namespace: 'shop', podUid: pod.uid, issuerKeyId: own.signer.keyId } });
  t.equal('identity' in verified && verified.identity.foreignDomain, undefined);
});

t.test('federation: a namespace that is not mapped is refused', async (t) => {
  const { east, trust } = twoDomains();
  for (const namespace of ['other', 'shop-2', 'sho']) {
    t.match(trust.verify(await wire(east.signer, samplePod({ namespace })), NOW), {
      refusal: { reason: 'foreign-domain' },
    });
  }
});

t.test('federation: a foreign issuer that claims the own domain, or a third one, is refused', async (t) => {
  const { own, east, trust } = twoDomains();
  t.match(trust.verify(await wire({ ...east.signer, trustDomain: DOMAIN }), NOW), {
    refusal: { reason: 'token-untrusted' },
  });
  t.match(trust.verify(await wire({ ...east.signer, trustDomain: 'west.example' }), NOW), {
    refusal: { reason: 'foreign-domain' },
  });
  t.match(
    trust.verify(await wire({ ...own.signer, trustDomain: EAST }), NOW),
    { refusal: { reason: 'token-untrusted' } },
    'nor does an own key speak for the other domain',
  );
});

t.test(
  'federation: with the same key in both domains each token is of the domain that it names',
  async (t) => {
    const own = sampleDomain(DOMAIN);
    const east = { ...own.signer, trustDomain: EAST };
    const entry = { ...entryOf(sampleDomain(EAST)), keys: [own.publicJwk] };
    const trust = new TrustInForce(parseFederatedTrust(federatedText(own, entry), 'trust.jwks'));
    const foreign = trust.verify(await wire(east), NOW);
    t.match(foreign, { identity: { foreignDomain: EAST, podUid: `${EAST}/${pod.uid}` } });
    const alone = new TrustInForce(own.trust);
    t.equal('identity' in foreign && believes(trust, foreign.identity), true);
    t.equal(
      'identity' in foreign && believes(alone, foreign.identity),
      false,
      'the key is there, the domain is not',
    );
  },
);

/** Whether who trusts so would still let stand what was proven. */
function believes(trust: TrustInForce, peer: ProvenIdentity): boolean {
  const keeper = new IdentityKeeper();
  keeper.replace(() => {
    throw new Error('no own identity is needed for that');
  }, trust);
  return keeper.stillHolds(peer);
}

t.test('federation: removing domain, key or mapping takes back what was proven by it', async (t) => {
  const { own, east, trust } = twoDomains();
  const verified = trust.verify(await wire(east.signer), NOW);
  if (!('identity' in verified)) throw new Error('refused');
  const peer = verified.identity;
  const other = sampleDomain(EAST);
  const shop = { name: 'shop', as: 'shop.east', labels: { side: 'east' } };
  const cases: [string, unknown[], boolean][] = [
    ['as it was', [entryOf(east)], true],
    [
      'another namespace beside it',
      [entryOf(east, { namespaces: [shop, { name: 'db', as: 'db.east' }] })],
      true,
    ],
    ['other networks', [entryOf(east, { networks: [] })], true],
    ['without the domain', [], false],
    ['without its keys', [entryOf(east, { keys: [] })], false],
    ['another key', [entryOf(east, { keys: [other.publicJwk] })], false],
    ['without the namespace', [entryOf(east, { namespaces: [{ name: 'db', as: 'shop.east' }] })], false],
    ['another local name', [entryOf(east, { namespaces: [{ ...shop, as: 'shop.west' }] })], false],
    ['another label', [entryOf(east, { namespaces: [{ ...shop, labels: { side: 'west' } }] })], false],
    ['fewer pod labels', [entryOf(east, { namespaces: [{ ...shop, pod_labels: ['app'] }] })], false],
    ['keys that are too old', [entryOf(east, { valid_until: 1 })], false],
  ];
  for (const [name, entries, expected] of cases) {
    const text = federatedText(own, ...entries);
    t.equal(believes(new TrustInForce(parseFederatedTrust(text, 'trust.jwks')), peer), expected, name);
  }
});

t.test(
  'federation: labels of the pod count as far as the mapping lets them, those of issuers never',
  async (t) => {
    const labels = { app: 'web', tier: 'gold', 'identity.countersign.io/image': 'x' };
    const namespaces = [{ name: 'shop', as: 'shop.east', pod_labels: ['app'] }];
    for (const [over, expected] of [
      [{}, { app: 'web', tier: 'gold' }],
      [{ namespaces }, { app: 'web' }],
    ] as const) {
      const { east, trust } = twoDomains(over);
      const { identity } = trust.verify(await foreignToken(east, labels), NOW) as {
        identity: { labels: object };
      };
      t.strictSame(identity.labels, expected);
    }
  },
);

/** An issuer that keeps what ours would drop. */
async function foreignToken(east: ReturnType<typeof sampleDomain>, labels: Record<string, string>) {
  const { SignJWT, decodeJwt } = await import('jose');
  const payload = decodeJwt(await sampleToken(east.signer));
  (payload['pod'] as { labels: object }).labels = labels;
  const jwt = new SignJWT(payload).setProtectedHeader({
    alg: 'ES256',
    typ: 'countersign+jwt',
    kid: east.signer.keyId,
  });
  return toCompact(await jwt.sign(east.signer.key));
}

t.test(
  'federation: a token is believed no longer than its domain allows, nor than its keys may be',
  async (t) => {
    const token = async (domain: ReturnType<typeof sampleDomain>) =>
      await wire(domain.signer, pod, NOW, 20_000);
    const aged = twoDomains({ max_token_age: 600 });
    const young = await token(aged.east);
    t.match(aged.trust.verify(young, NOW + 599), { identity: { expiresAt: NOW + 600 } });
    t.match(aged.trust.verify(young, NOW + 600), { refusal: { reason: 'token-expired' } });
    const usual = twoDomains();
    t.match(usual.trust.verify(await token(usual.east), NOW + 4 * 3600), {
      refusal: { reason: 'token-expired' },
    });
    const old = twoDomains({ valid_until: NOW + 100 });
    const known = await token(old.east);
    t.match(old.trust.verify(known, NOW + 99), { identity: { expiresAt: NOW + 100 } });
    t.match(old.trust.verify(known, NOW + 100), { refusal: { reason: 'foreign-domain' } });
  },
);

t.test('federation: a mark over a pod of the own domain is none over its namesake elsewhere', async (t) => {
  const revocations = new Revocations();
  const { own, east, trust } = twoDomains({}, revocations);
  const [here, there] = [await wire(own.signer), await wire(east.signer)];
  revocations.revokeBefore(pod.uid, NOW + 1, NOW);
  t.match(trust.verify(here, NOW), { refusal: { reason: 'token-expired' } });
  t.match(trust.verify(there, NOW), { identity: { foreignDomain: EAST } });
  revocations.revokeBefore(`${EAST}/${pod.uid}`, NOW + 1, NOW);
  t.match(trust.verify(there, NOW), { refusal: { reason: 'token-expired' } });
});

t.test(
  'federation: the own token has to be of the own domain, however well the other one is mapped',
  async (t) => {
    const { own, east, trust } = twoDomains();
    const mine = new IdentityState(await wire(own.signer), OWN_KEY, trust, NOW);
    t.equal(mine.own.namespace, 'shop');
    const foreign = await wire(east.signer);
    t.throws(() => new IdentityState(foreign, OWN_KEY, trust, NOW), {
      message: /the own token is of east\.example, which is federated/,
    });
  },
);

t.test('federation: Hellos of each domain are admitted, bounded in number', (t) => {
  const { bundle, trust } = twoDomains();
  t.equal(trust.admissionKeys.length, bundle.keys.size + 1);
  t.equal(new Set(trust.admissionKeys.map((key) => Buffer.from(key).toString('hex'))).size, 2);
  t.end();
});

t.test('federation: an address is of the domain in whose networks it lies, believed or not', (t) => {
  const { trust } = twoDomains({ valid_until: NOW - 1 });
  t.equal(domainAt(trust.federation!, '203.0.113.7'), EAST);
  t.equal(domainAt(trust.federation!, '::ffff:203.0.113.7'), EAST);
  t.equal(domainAt(trust.federation!, '203.0.114.7'), undefined);
  t.equal(domainAt(trust.federation!, 'nonsense'), undefined);
  t.end();
});

t.test('federation: the bare reader of trust bundles believes nobody else', (t) => {
  const [own, east] = [sampleDomain(DOMAIN), sampleDomain(EAST)];
  t.equal(parseTrustBundle(federatedText(own, entryOf(east)), 'trust.jwks').federation, undefined);
  t.end();
});

t.test('federation: a shared secret does not federate', (t) => {
  const secret = { ...generateSharedSecret(DOMAIN), federation: [] };
  t.throws(() => parseSharedSecret(JSON.stringify(secret), 'psk.jwk'), {
    message: /^psk\.jwk: federation has no place beside a shared secret/,
  });
  t.end();
});

t.test('federation: what is wrong is told with file, field and remedy', (t) => {
  const [own, east] = [sampleDomain(DOMAIN), sampleDomain(EAST)];
  const shop = { name: 'shop', as: 'shop.east' };
  const mapped = (...namespaces: unknown[]) => entryOf(east, { namespaces });
  const cases: [string, unknown[], RegExp][] = [
    ['no object', ['east'], /federation\[0\] has to be an object/],
    ['a misspelt member', [entryOf(east, { network: [] })], /federation\[0\]\.network is not known/],
    ['no domain', [entryOf(east, { trust_domain: 'East!' })], /\.trust_domain has to be a name/],
    ['the own domain', [entryOf(own)], /\.trust_domain is cluster\.local, the own one/],
    [
      'twice',
      [entryOf(east), entryOf(east, { networks: [] })],
      /federation\[1\]\.trust_domain east\.example is there twice/,
    ],
    [
      'a private key',
      [entryOf(east, { keys: [JSON.parse(east.issuer)] })],
      /federation\[0\]\.keys\[0\] holds a private key/,
    ],
    ['no list of keys', [entryOf(east, { keys: 'x' })], /federation\[0\]\.keys has to be a list/],
    ['no block', [entryOf(east, { networks: ['203.0.113.7'] })], /networks\[0\] is no block: write it as/],
    ['every address', [entryOf(east, { networks: ['0.0.0.0/0'] })], /networks\[0\] is every address/],
    [
      'networks of two',
      [entryOf(east), entryOf(sampleDomain('west.example'), { networks: ['203.0.113.128/25'] })],
      /federation\[1\]\.networks overlaps with that of east\.example/,
    ],
    ['no namespaces', [entryOf(east, { namespaces: undefined })], /\.namespaces has to be a list/],
    [
      'a name without a dot',
      [mapped({ ...shop, as: 'shop' })],
      /namespaces\[0\]\.as has to be a name with a dot/,
    ],
    ['a name that is none', [mapped({ ...shop, as: 'shop..east' })], /namespaces\[0\]\.as has to be/],
    ['too long a name', [mapped({ ...shop, as: `${'a'.repeat(62)}.b` })], /namespaces\[0\]\.as has to be/],
    ['no foreign name', [mapped({ as: 'shop.east' })], /namespaces\[0\]\.name has to be/],
    ['a namespace twice', [mapped(shop, shop)], /namespaces\[1\]\.name shop is there twice/],
    [
      'a misspelt member of a namespace',
      [mapped({ ...shop, label: {} })],
      /namespaces\[0\]\.label is not known/,
    ],
    [
      'the label of the name',
      [mapped({ ...shop, labels: { 'kubernetes.io/metadata.name': 'shop' } })],
      /labels\["kubernetes\.io\/metadata\.name"\] cannot be given/,
    ],
    [
      'a label of issuers',
      [mapped({ ...shop, labels: { 'identity.countersign.io/x': 'y' } })],
      /cannot be given/,
    ],
    [
      'a label that is none',
      [mapped({ ...shop, labels: { 'a b': 'y' } })],
      /labels\["a b"\] the name must be/,
    ],
    [
      'a pod label of issuers',
      [mapped({ ...shop, pod_labels: ['identity.countersign.io/x'] })],
      /\.pod_labels has to be/,
    ],
    ['no local namespaces', [entryOf(east, { local_namespaces: [] })], /\.local_namespaces has to be/],
    [
      'too long an age',
      [entryOf(east, { max_token_age: 90_000 })],
      /\.max_token_age has to be a number of seconds from 60/,
    ],
    ['no time', [entryOf(east, { valid_until: 'soon' })], /\.valid_until has to be a time/],
  ];
  for (const [name, entries, expected] of cases) {
    const text = federatedText(own, ...entries);
    t.throws(() => parseFederatedTrust(text, 'trust.jwks'), { message: expected }, name);
    t.throws(() => parseFederatedTrust(text, 'trust.jwks'), { message: /^trust\.jwks: / }, name);
  }
  const many = Array.from({ length: 17 }, (_, index) =>
    entryOf(sampleDomain(`d${index}.example`), { networks: [] }),
  );
  t.throws(() => parseFederatedTrust(federatedText(own, ...many), 'trust.jwks'), { message: /at most 16/ });
  const keys = Array.from({ length: 16 }, () => sampleDomain().publicJwk);
  const greedy = ['a', 'b'].map((name) => entryOf(sampleDomain(name), { networks: [], keys }));
  t.throws(() => parseFederatedTrust(federatedText(own, ...greedy), 'trust.jwks'), {
    message: /federation\[1\]\.keys makes more than 32 keys in all/,
  });
  t.end();
});

t.test(
  'federation: of an entry that cannot be read the networks count, and nobody there is believed',
  async (t) => {
    const [own, east] = [sampleDomain(DOMAIN), sampleDomain(EAST)];
    const problems: string[] = [];
    const text = federatedText(own, entryOf(east, { of_a_later_release: true }));
    const trust = new TrustInForce(
      parseFederatedTrust(text, 'the bundle', (problem) => problems.push(problem)),
    );
    t.match(problems, [/of_a_later_release is not known/]);
    t.equal(domainAt(trust.federation!, '203.0.113.7'), EAST);
    t.match(trust.verify(await wire(east.signer), NOW), { refusal: { reason: 'token-untrusted' } });
    const broken = federatedText(own, entryOf(east, { networks: 'all' }));
    t.throws(
      () => parseFederatedTrust(broken, 'the bundle', () => {}),
      UserError,
      'without networks nothing is safe',
    );
  },
);

t.test(
  'federation: whatever a foreign issuer signs, nothing of it is a local pod, namespace or label',
  async () => {
    const { own, east, trust } = twoDomains({
      namespaces: [
        { name: 'shop', as: 'shop.east', labels: { side: 'east' } },
        { name: 'db', as: 'db.east' },
      ],
    });
    const local = trust.verify(await wire(own.signer), NOW);
    if (!('identity' in local)) throw new Error('refused');
    const text = fc.constantFrom(
      'shop',
      'db',
      'web',
      'other',
      'shop.east',
      EAST,
      DOMAIN,
      pod.uid,
      `${EAST}-${pod.uid}`,
    );
    const facts = fc.record({ namespace: fc.constantFrom('shop', 'db', 'other'), name: text, uid: text });
    const domains = fc.constantFrom(EAST, DOMAIN, 'west.example');
    await fc.assert(
      fc.asyncProperty(facts, domains, async (over, trustDomain) => {
        const signed = await wire({ ...east.signer, trustDomain }, samplePod(over));
        const verified = trust.verify(signed, NOW);
        if ('refusal' in verified) return trustDomain !== EAST || over.namespace === 'other';
        const { identity } = verified;
        return (
          trustDomain === EAST &&
          identity.foreignDomain === EAST &&
          identity.podUid !== local.identity.podUid &&
          identity.namespace === `${over.namespace}.east` &&
          identity.namespaceLabels['kubernetes.io/metadata.name'] === `${over.namespace}.east` &&
          identity.issuerKeyId !== local.identity.issuerKeyId &&
          !own.trust.keys.has(identity.issuerKeyId)
        );
      }),
      { numRuns: 60 },
    );
  },
);

t.test(
  'federation: who holds the identity tells when a domain ceases to be believed by itself',
  async (t) => {
    const seconds = Date.now() / 1000;
    const { own, bundle } = twoDomains({ valid_until: Math.ceil(seconds) + 1 });
    const keeper = new IdentityKeeper();
    t.match(keeper.foreignOwner('203.0.113.7'), { kind: 'unknown' }, 'before there is trust nobody knows');
    const trust = new TrustInForce(bundle);
    const token = await wire(own.signer, pod, seconds, 3600);
    let told = 0;
    const again = new Promise<void>((resolve) => keeper.subscribe(() => ++told === 2 && resolve()));
    keeper.replace(() => new IdentityState(token, OWN_KEY, trust, seconds), trust);
    t.match(keeper.foreignOwner('203.0.113.7'), { kind: 'foreign', domain: EAST });
    t.equal(keeper.foreignOwner('198.51.100.1'), undefined);
    // The keeper's own timer keeps no process alive.
    const alive = setInterval(() => {}, 1_000);
    t.teardown(() => clearInterval(alive));
    await again;
    t.match([...keeper.federation.keys()], [EAST]);
  },
);

t.test('federation: a key is remembered as that of its domain alone', async (t) => {
  const { own, east, bundle } = twoDomains();
  const verifier = new TokenVerifier(bundle);
  const [here, there] = [await wire(own.signer), await wire(east.signer)];
  for (let round = 0; round < 2; round++) {
    t.match(verifier.verify(here, NOW), { identity: { namespace: 'shop' } });
    t.match(verifier.verify(there, NOW), { identity: { namespace: 'shop.east' } });
  }
  t.equal(verifier.remembered, 2, 'one uid and one pod name in two domains are two pods');
});
