import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import fc from 'fast-check';
import t from 'tap';
import { CertificateTrust, parseRoots } from '../../src/pki/certificate-trust.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import {
  type Authority,
  DOMAIN,
  generate,
  HOUR,
  type Leaf,
  makeAuthority,
  makeLeaf,
  names,
  NOW,
  type Oddities,
  pemOf,
  podIdentity,
  podIdentityOf,
  purposes,
  spiffeId,
  wireOf,
} from './certificates.ts';

const { keyCertSign, digitalSignature, keyEncipherment, cRLSign } = x509.KeyUsageFlags;
const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
const P384 = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]) };

const root = await makeAuthority('root');
const trust = trusting(root);

function trusting(...roots: Authority[]): CertificateTrust {
  return new CertificateTrust(DOMAIN, parseRoots(pemOf(...roots), 'roots.pem'));
}

/** Reason and detail of a refusal, or the pod that was proven. */
function judged(of: CertificateTrust, wire: Uint8Array, now = NOW): string {
  const verified = of.verify(wire, now);
  return 'refusal' in verified
    ? `${verified.refusal.reason}: ${verified.refusal.detail}`
    : `${verified.identity.namespace}/${verified.identity.podName}`;
}

t.test('certificate: proves domain, namespace, service account, pod and uid, and no labels', async (t) => {
  const leaf = await makeLeaf(root);
  const verified = trust.verify(wireOf(leaf), NOW);
  t.match(verified, {
    identity: {
      trustDomain: DOMAIN,
      namespace: 'shop',
      serviceAccount: 'web-account',
      podName: 'web',
      podUid: 'uid-web',
      labels: {},
      namespaceLabels: {},
      namesOnly: { serviceAccount: 'web-account' },
      issuedAt: NOW - 60,
      expiresAt: NOW + HOUR,
      issuerKeyId: parseRoots(pemOf(root), 'r')[0]!.keyId,
    },
  });
  t.equal(trust.remembered, 1);
});

t.test('certificate: chains of each accepted kind of key and length are believed', async (t) => {
  const below = async (issuer: Authority, odd: Oddities = {}) => makeAuthority('below', { issuer, ...odd });
  const one = await below(root);
  const two = await below(one, { algorithm: P384 });
  const three = await below(two);
  t.equal(judged(trust, wireOf(await makeLeaf(one), one)), 'shop/web');
  t.equal(judged(trust, wireOf(await makeLeaf(two), two, one)), 'shop/web');
  t.equal(judged(trust, wireOf(await makeLeaf(three), three, two, one)), 'shop/web');
  for (const algorithm of [{ ...RSA, modulusLength: 2048 }, { name: 'Ed25519' }]) {
    const other = await makeAuthority('other', { algorithm });
    t.equal(
      judged(trusting(root, other), wireOf(await makeLeaf(other))),
      'shop/web',
      JSON.stringify(algorithm),
    );
  }
  const inPath = names(`${spiffeId('shop', 'web-account')}/pod/web/uid-web`);
  t.equal(judged(trust, wireOf(await makeLeaf(root, { names: inPath, podIdentity: undefined }))), 'shop/web');
  t.equal(judged(trust, wireOf(await makeLeaf(root, { names: inPath }))), 'shop/web');
  t.equal(judged(trust, wireOf(await makeLeaf(root, { extendedKeyUsage: undefined }))), 'shop/web');
});

t.test('attack: a certificate that is odd in one point proves nothing', async (t) => {
  const table: [what: string, odd: Oddities, refused: RegExp][] = [
    [
      'an authority',
      { basicConstraints: new x509.BasicConstraintsExtension(true) },
      /untrusted.*of an authority/,
    ],
    [
      'for encryption alone',
      { keyUsage: new x509.KeyUsagesExtension(keyEncipherment) },
      /not digitalSignature/,
    ],
    [
      'may sign certificates',
      { keyUsage: new x509.KeyUsagesExtension(digitalSignature | keyCertSign) },
      /key usage is that of an authority/,
    ],
    [
      'may sign revocations',
      { keyUsage: new x509.KeyUsagesExtension(digitalSignature | cRLSign) },
      /key usage is that of an authority/,
    ],
    ['for clients alone, as of the API server', { extendedKeyUsage: purposes(clientAuth) }, /not both/],
    ['for servers alone', { extendedKeyUsage: purposes(serverAuth) }, /not both/],
    ['for signing code', { extendedKeyUsage: purposes('1.3.6.1.5.5.7.3.3') }, /not both/],
    ['P-384', { algorithm: P384 }, /its key is not P-256/],
    ['Ed25519', { algorithm: { name: 'Ed25519' } }, /its key is not P-256/],
    ['valid too long', { notAfter: NOW + 26 * HOUR }, /valid for more than 25 h/],
    ['no URI', { names: undefined }, /malformed.*it has 0 URIs/],
    [
      'two URIs',
      { names: names(spiffeId('shop', 'web-account'), spiffeId('shop', 'admin')) },
      /it has 2 URIs/,
    ],
    ['a URI of another kind', { names: names('https://shop/web') }, /its URI is no spiffe/],
    ['a path of another kind', { names: names('spiffe://cluster.local/shop/web') }, /its URI is no spiffe/],
    ['a longer path', { names: names(`${spiffeId('shop', 'web-account')}/pod/web`) }, /its URI is no spiffe/],
    ['a query', { names: names(`${spiffeId('shop', 'web-account')}?x`) }, /its SPIFFE ID/],
    ['an impossible namespace', { names: names(spiffeId('Shop', 'web-account')) }, /its SPIFFE ID/],
    [
      'a port in the domain',
      { names: names(spiffeId('shop', 'web-account', 'cluster.local:1')) },
      /trust domain/,
    ],
    [
      'another domain',
      { names: names(spiffeId('shop', 'web-account', 'evil.local')) },
      /^foreign-domain: of evil\.local/,
    ],
    ['no pod', { podIdentity: undefined }, /it names no pod/],
    [
      'another namespace in the extension',
      { podIdentity: podIdentity({ namespace: 'bank' }) },
      /another service acc/,
    ],
    [
      'another account in the extension',
      { podIdentity: podIdentity({ account: 'admin' }) },
      /another service account/,
    ],
    [
      'another pod in the path',
      { names: names(`${spiffeId('shop', 'web-account')}/pod/db/uid-web`) },
      /names another pod/,
    ],
    [
      'another uid in the path',
      { names: names(`${spiffeId('shop', 'web-account')}/pod/web/uid-db`) },
      /names another pod/,
    ],
    ['an impossible pod', { podIdentity: podIdentity({ pod: '../web' }) }, /no pod that could be one/],
    ['an empty uid', { podIdentity: podIdentity({ uid: '' }) }, /no pod that could be one/],
    [
      'an extension too short',
      { podIdentity: podIdentityOf(['shop', '', 'web-account']) },
      /extension is none/,
    ],
    ['an extension of rubbish', { podIdentity: rubbish('1.3.6.1.4.1.57683.1') }, /extension is none/],
    ['something critical', { more: [rubbish('1.2.3.4')] }, /1\.2\.3\.4 is critical and not understood/],
    ['name constraints', { more: [rubbish('2.5.29.30', false)] }, /limits names or policies/],
    ['an extension twice', { more: [podIdentity({ uid: 'uid-db' })] }, /is there twice/],
  ];
  for (const [what, odd, refused] of table) {
    t.match(judged(trust, wireOf(await makeLeaf(root, odd))), refused, what);
  }
});

function rubbish(type: string, critical = true): x509.Extension {
  return new x509.Extension(type, critical, new Uint8Array([0x04, 0x01, 0x00]));
}

t.test('attack: an authority that may not sign this chain makes it prove nothing', async (t) => {
  const table: [what: string, odd: Oddities, refused: RegExp][] = [
    ['no authority', { basicConstraints: undefined }, /authority 1 of the chain: it is no authority/],
    [
      'an authority of nothing',
      { basicConstraints: new x509.BasicConstraintsExtension(false) },
      /it is no authority/,
    ],
    ['no key usage', { keyUsage: undefined }, /not keyCertSign/],
    ['for signatures alone', { keyUsage: new x509.KeyUsagesExtension(digitalSignature) }, /not keyCertSign/],
    ['a short RSA key', { algorithm: { ...RSA, modulusLength: 1024 } }, /its key is of no kind/],
    [
      'name constraints',
      { more: [rubbish('2.5.29.30', false)] },
      /certificate 2: .*limits names or policies/,
    ],
    ['policy constraints', { more: [rubbish('2.5.29.36')] }, /limits names or policies/],
    ['something critical', { more: [rubbish('1.2.3.4')] }, /critical and not understood/],
  ];
  for (const [what, odd, refused] of table) {
    const authority = await makeAuthority('middle', { issuer: root, ...odd });
    t.match(judged(trust, wireOf(await makeLeaf(authority), authority)), refused, what);
  }
  // A pod's own certificate signs for another pod.
  const web = await makeLeaf(root);
  const forged = await makeLeaf(
    { ...web, algorithm: root.algorithm },
    {
      podIdentity: podIdentity({ pod: 'db', uid: 'uid-db' }),
    },
  );
  t.match(judged(trust, wireOf(forged, web)), /untrusted: authority 1 of the chain: it is no authority/);
});

t.test(
  'attack: a path longer than an authority allows proves nothing, wherever the limit stands',
  async (t) => {
    const limited = (length: number) => ({
      basicConstraints: new x509.BasicConstraintsExtension(true, length, true),
    });
    const narrowRoot = await makeAuthority('narrow', limited(0));
    const middle = await makeAuthority('middle', { issuer: narrowRoot });
    t.equal(judged(trusting(narrowRoot), wireOf(await makeLeaf(narrowRoot))), 'shop/web');
    t.match(judged(trusting(narrowRoot), wireOf(await makeLeaf(middle), middle)), /no trusted root/);
    const narrow = await makeAuthority('narrow', { issuer: root, ...limited(0) });
    const below = await makeAuthority('below', { issuer: narrow });
    t.equal(judged(trust, wireOf(await makeLeaf(narrow), narrow)), 'shop/web');
    t.match(judged(trust, wireOf(await makeLeaf(below), below, narrow)), /authority 2 .* path length is 0/);
  },
);

t.test('attack: a chain that rests on no trusted root, or is put together, proves nothing', async (t) => {
  const leaf = await makeLeaf(root);
  const impostor = await makeAuthority('root');
  t.match(judged(trust, wireOf(await makeLeaf(impostor))), /untrusted: no trusted root/, 'of the same name');
  t.match(
    judged(trust, wireOf(await makeLeaf(impostor), impostor)),
    /no trusted root/,
    'its own root with it',
  );
  const sameKey = await makeAuthority('other name', { keys: root.keys });
  t.match(
    judged(trusting(sameKey), wireOf(leaf)),
    /no trusted root/,
    'a root of another name with the same key',
  );
  const one = await makeAuthority('one', { issuer: root });
  const two = await makeAuthority('two', { issuer: root });
  t.match(judged(trust, wireOf(await makeLeaf(one), two)), /certificate 1 .* not signed by the next/);
  t.match(judged(trust, wireOf(await makeLeaf(one))), /no trusted root/, 'the authority between is missing');
  const stranger = await makeAuthority('one');
  t.match(
    judged(trust, wireOf(await makeLeaf(stranger), one)),
    /not signed by the next/,
    'an authority of the name',
  );
  const unnamed = { withoutKeyIdentifier: true };
  t.match(
    judged(trust, wireOf(await makeLeaf(stranger, unnamed), one)),
    /not signed by the next/,
    'by its name alone',
  );
  t.match(
    judged(trust, wireOf(await makeLeaf(impostor, unnamed))),
    /no trusted root/,
    'a root by its name alone',
  );
  const forged = Uint8Array.from(wireOf(leaf));
  forged[forged.length - 1]! ^= 1;
  t.match(judged(trust, forged), /untrusted|malformed/, 'a signature that was changed');
  for (let at = 2; at < forged.length; at++) {
    const changed = Uint8Array.from(wireOf(leaf));
    changed[at]! ^= 1;
    if (judged(trust, changed) === 'shop/web') t.fail(`believed with byte ${at} changed`);
  }
});

t.test('attack: outside its time no part of a chain counts, to the second', async (t) => {
  const leaf = await makeLeaf(root, { notAfter: NOW + 100 });
  t.equal(judged(trust, wireOf(leaf), NOW + 99), 'shop/web');
  t.match(judged(trust, wireOf(leaf), NOW + 100), /^token-expired/, 'remembered or not');
  const late = await makeLeaf(root, { notBefore: NOW + 60 });
  t.match(judged(trust, wireOf(late)), /^token-not-yet-valid/);
  t.equal(judged(trust, wireOf(late), NOW + 30), 'shop/web', '30 s are allowed for clocks');
  const dying = await makeAuthority('dying', { issuer: root, notAfter: NOW + 50 });
  t.match(judged(trust, wireOf(await makeLeaf(dying), dying), NOW + 50), /^token-expired/, 'an authority');
  const coming = await makeAuthority('coming', { issuer: root, notBefore: NOW + 60 });
  t.match(judged(trust, wireOf(await makeLeaf(coming), coming)), /^token-not-yet-valid/);
  const old = await makeAuthority('old', { notAfter: NOW + 50 });
  t.match(judged(trusting(old), wireOf(await makeLeaf(old)), NOW + 50), /^token-expired/, 'a root');
});

t.test('certificate: a not-before mark kills those from before it', async (t) => {
  const revocations = new Revocations();
  const marked = new CertificateTrust(DOMAIN, parseRoots(pemOf(root), 'r'), revocations);
  const leaf = await makeLeaf(root);
  t.equal(judged(marked, wireOf(leaf)), 'shop/web');
  revocations.revokeBefore('uid-web', NOW, NOW);
  t.match(judged(marked, wireOf(leaf)), /^token-expired: revoked/);
});

t.test('attack: whatever bytes come, the answer is a refusal and nothing is remembered', async (t) => {
  const fresh = trusting(root);
  const good = wireOf(await makeLeaf(root));
  for (const [what, bytes] of [
    ['nothing', new Uint8Array()],
    ['a token', Uint8Array.from([1, 0, 5])],
    ['five certificates', Uint8Array.from([2, 5, 0, 1, 0])],
    ['bytes behind it', Uint8Array.from([...good, 0])],
    ['cut off', good.subarray(0, -1)],
    ['too long', Uint8Array.from([2, 1, 0x10, 0, ...new Uint8Array(4096)])],
    ['something behind a certificate', behind(good)],
  ] as const) {
    t.match(judged(fresh, bytes), /^token-malformed/, what);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat({ max: good.length - 1 }), (noise, at) => {
      const mixed = Uint8Array.from(good);
      mixed.set(noise.subarray(0, good.length - at), at);
      const same = Buffer.from(mixed).equals(good);
      return same || 'refusal' in fresh.verify(noise, NOW);
    }),
    { numRuns: 200 },
  );
  t.equal(fresh.remembered, 0);
  t.end();
});

/** The certificate with a byte more that its length covers. */
function behind(wire: Uint8Array): Uint8Array {
  const length = ((wire[2]! << 8) | wire[3]!) + 1;
  return Uint8Array.from([2, 1, length >> 8, length & 0xff, ...wire.subarray(4), 0]);
}

t.test('attack: the twin of a signature does not fill the memory', async (t) => {
  const fresh = trusting(root);
  const leaves: Leaf[] = [await makeLeaf(root), await makeLeaf(root)];
  for (const leaf of [...leaves, ...leaves]) fresh.verify(wireOf(leaf), NOW);
  t.equal(fresh.remembered, 2);
  const twin = twinOf(wireOf(leaves[0]!));
  t.equal(judged(fresh, twin), 'shop/web', 'both are signatures');
  t.equal(fresh.remembered, 2, 'and one is remembered');
});

/** (r, n - s) instead of (r, s) at the end of the certificate, as DER. */
function twinOf(wire: Uint8Array): Uint8Array {
  const der = Buffer.from(wire.subarray(4));
  const n = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
  const certificate = new x509.X509Certificate(der);
  const [r, s] = readSignature(Buffer.from(certificate.signature));
  const body = Buffer.concat([integer(r), integer(n - s)]);
  const signature = Buffer.concat([Buffer.of(0x30, body.length), body]);
  const bits = Buffer.concat([Buffer.of(0x03, signature.length + 1, 0), signature]);
  const old = certificate.signature.byteLength + 3;
  const inner = Buffer.concat([der.subarray(4, der.length - old), bits]);
  const whole = Buffer.concat([Buffer.of(0x30, 0x82, inner.length >> 8, inner.length & 0xff), inner]);
  return Uint8Array.from([2, 1, whole.length >> 8, whole.length & 0xff, ...whole]);
}

function readSignature(der: Buffer): [bigint, bigint] {
  const rLength = der[3]!;
  const r = der.subarray(4, 4 + rLength);
  const s = der.subarray(6 + rLength, 6 + rLength + der[5 + rLength]!);
  return [BigInt(`0x${r.toString('hex')}`), BigInt(`0x${s.toString('hex')}`)];
}

function integer(value: bigint): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, 'hex');
  const padded = (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes;
  return Buffer.concat([Buffer.of(0x02, padded.length), padded]);
}

t.test('roots: what cannot be believed is an error that names file, certificate and remedy', async (t) => {
  const limited = await makeAuthority('limited', { more: [rubbish('2.5.29.30')] });
  const weak = await makeAuthority('weak', { algorithm: { ...RSA, modulusLength: 1024 } });
  const many = await Promise.all(Array.from({ length: 17 }, () => makeAuthority('many')));
  for (const [text, message] of [
    ['', /roots\.pem: holds no certificate in PEM/],
    ['rubbish', /roots\.pem: holds no certificate in PEM/],
    [pemOf(...many), /holds 17 certificates; 16 is the most/],
    [pemOf(root, await makeLeaf(root)), /certificate 2: it is no authority/],
    [pemOf(limited), /certificate 1: its extension 2\.5\.29\.30 limits names/],
    [pemOf(weak), /its key is of no kind that is accepted/],
    ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----', /it is a PRIVATE KEY/],
    ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----', /it is no X\.509 certificate/],
  ] as const) {
    t.throws(() => parseRoots(text, 'roots.pem'), { message });
  }
});

t.test(
  'roots: a renewed root with the same key is the same issuer, and each key admits Hellos once',
  async (t) => {
    const keys = await generate({ name: 'ECDSA', namedCurve: 'P-256' });
    const [old, renewed] = [
      await makeAuthority('r', { keys }),
      await makeAuthority('r', { keys, notAfter: NOW + HOUR }),
    ];
    const both = trusting(old, renewed, root);
    t.equal(both.admissionKeys.length, 2);
    const leaf = await makeLeaf(old);
    const verified = trusting(renewed).verify(wireOf(leaf), NOW);
    if ('refusal' in verified) throw new Error(verified.refusal.detail);
    t.ok(both.admissionKey(verified.identity.issuerKeyId));
    t.equal(trust.admissionKey(verified.identity.issuerKeyId), undefined);
  },
);
