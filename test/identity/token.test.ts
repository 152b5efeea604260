import { createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { importJWK, jwtVerify, SignJWT } from 'jose';
import t from 'tap';
import { decodeClaims, encodeClaims, MAX_LIFETIME, withoutReserved } from '../../src/identity/claims.ts';
import { fromCompact, toCompact } from '../../src/identity/compact.ts';
import { issueToken, type SigningKey } from '../../src/identity/issue.ts';
import {
  generateIssuer,
  generateOwnKey,
  generateSharedSecret,
  parseIssuerKey,
} from '../../src/identity/keys.ts';
import { parseSharedSecret, parseTrustBundle } from '../../src/identity/trust.ts';
import { TokenVerifier } from '../../src/identity/verify.ts';
import type { Pod } from '../../src/peers/directory.ts';

const NOW = 1_800_000_000;
const DOMAIN = 'cluster.local';

function domain(name = DOMAIN) {
  const { issuer, bundle } = generateIssuer(name);
  return {
    signer: parseIssuerKey(JSON.stringify(issuer), 'issuer.jwk'),
    bundle: parseTrustBundle(JSON.stringify(bundle), 'trust.jwks'),
    publicJwk: (bundle as { keys: object[] }).keys[0]!,
  };
}

const POD: Pod = {
  namespace: 'shop',
  name: 'web-7d4b9c6f5-x2x9z',
  uid: '0b1f4d52-6a31-4a6f-9a38-1d7f3f6b1c11',
  serviceAccount: 'web',
  labels: {
    app: 'web',
    'app.kubernetes.io/name': 'web',
    'app.kubernetes.io/instance': 'shop',
    'app.kubernetes.io/component': 'frontend',
    'app.kubernetes.io/part-of': 'shop',
    'app.kubernetes.io/managed-by': 'Helm',
    'countersign.io/inject': 'true',
    'pod-template-hash': '7d4b9c6f5',
  },
  addresses: [],
  nodeName: 'node-1',
  ports: [],
  probePorts: [],
  enrolled: true,
  hostNetwork: false,
};
const NS_LABELS = { 'kubernetes.io/metadata.name': 'shop', team: 'storefront' };

const key = generateOwnKey();
const trusted = domain();
const issue = (signer: SigningKey = trusted.signer, ttl = 3600, pod = POD): Promise<string> =>
  issueToken(signer, pod, NS_LABELS, key.publicKey, NOW, ttl);
const verifier = new TokenVerifier(trusted.bundle);

t.test('token: what an issuer signs is verified and says what the pod is', async (t) => {
  const verified = verifier.verify(toCompact(await issue()), NOW);
  t.match(verified, {
    identity: {
      trustDomain: DOMAIN,
      namespace: 'shop',
      serviceAccount: 'web',
      podName: POD.name,
      podUid: POD.uid,
      labels: POD.labels,
      namespaceLabels: NS_LABELS,
      expiresAt: NOW + 3600,
    },
  });
});

t.test('token: with eight labels it takes less than 700 bytes on the wire', async (t) => {
  const size = toCompact(await issue()).length;
  t.ok(size < 700, `${size} bytes`);
});

t.test(
  'token: times are kept to the second, with an allowance for clocks at the beginning alone',
  async (t) => {
    const token = toCompact(await issue());
    const at = (now: number) => {
      const verified = verifier.verify(token, now);
      return 'refusal' in verified ? verified.refusal.reason : 'accepted';
    };
    t.strictSame(
      [-31, -30, 0, 3599, 3599.9, 3600, 3601].map((offset) => at(NOW + offset)),
      [
        'token-not-yet-valid',
        'accepted',
        'accepted',
        'accepted',
        'accepted',
        'token-expired',
        'token-expired',
      ],
    );
  },
);

t.test(
  'token: signed by a foreign domain it is told as foreign, whatever it claims about its key',
  async (t) => {
    const foreign = domain('evil.example');
    t.match(verifier.verify(toCompact(await issue(foreign.signer)), NOW), {
      refusal: { reason: 'foreign-domain' },
    });
    const posing = { ...foreign.signer, trustDomain: DOMAIN };
    t.match(verifier.verify(toCompact(await issue(posing)), NOW), { refusal: { reason: 'token-untrusted' } });
    const borrowed = { ...posing, keyId: trusted.signer.keyId };
    t.match(verifier.verify(toCompact(await issue(borrowed)), NOW), {
      refusal: { reason: 'token-untrusted', detail: 'the signature is wrong' },
    });
  },
);

t.test('token: the key decides the algorithm, never the header', async (t) => {
  const payload = encodeClaims(decodeClaimsOf(await issue()));
  const header = { typ: 'countersign+jwt', kid: trusted.signer.keyId };
  const publicText = Buffer.from(JSON.stringify(trusted.publicJwk));
  const confused = await new SignJWT(payload)
    .setProtectedHeader({ ...header, alg: 'HS256' })
    .sign(createSecretKey(publicText));
  const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const unsigned = `${b64({ alg: 'none', ...header })}.${b64(payload)}.`;
  const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  const es384 = await new SignJWT(payload).setProtectedHeader({ ...header, alg: 'ES384' }).sign(other);
  for (const jwt of [confused, unsigned, es384]) {
    t.match(verifier.verify(toCompact(jwt), NOW), { refusal: { reason: 'token-untrusted' } });
  }
});

t.test('token: a header that wants more than it may is refused', async (t) => {
  const payload = encodeClaims(decodeClaimsOf(await issue()));
  const header = { alg: 'ES256', typ: 'countersign+jwt', kid: trusted.signer.keyId };
  for (const more of [
    { jwk: trusted.publicJwk },
    { jku: 'https://example.com' },
    { x5u: 'x' },
    { typ: 'JWT' },
    { kid: 'x' },
  ]) {
    const jwt = await new SignJWT(payload)
      .setProtectedHeader({ ...header, ...more })
      .sign(trusted.signer.key);
    t.match(
      verifier.verify(toCompact(jwt), NOW),
      { refusal: { reason: 'token-untrusted' } },
      JSON.stringify(more),
    );
  }
});

function decodeClaimsOf(jwt: string) {
  const claims = decodeClaims(JSON.parse(fromCompact(toCompact(jwt))!.payload));
  if (typeof claims === 'string') throw new Error(claims);
  return claims;
}

t.test('token: claims that break a rule are named', async (t) => {
  const good = encodeClaims(decodeClaimsOf(await issue()));
  const pod = good['pod'] as Record<string, unknown>;
  const jwk = (good['cnf'] as { jwk: Record<string, unknown> }).jwk;
  const cases: [string, Record<string, unknown>, RegExp][] = [
    ['no subject', { sub: undefined }, /sub/],
    ['a subject of another domain', { sub: 'spiffe://evil.example/ns/shop/sa/web' }, /iss/],
    ['a subject with a path behind', { sub: `${String(good['sub'])}/x` }, /sub/],
    ['another audience', { aud: 'kubernetes' }, /aud/],
    ['a list of audiences', { aud: ['countersign/1'] }, /aud/],
    ['a broken second', { exp: 1.5 }, /whole seconds/],
    ['an end before the beginning', { exp: NOW - 1 }, /exp/],
    ['a life that is too long', { exp: NOW + MAX_LIFETIME + 1 }, /exp/],
    ['no pod', { pod: undefined }, /pod/],
    ['a uid with a blank', { pod: { ...pod, uid: 'a b' } }, /uid/],
    ['a label key with a NUL', { pod: { ...pod, labels: { 'a\0b': 'x' } } }, /labels/],
    ['a label value that is no text', { pod: { ...pod, labels: { app: 1 } } }, /labels/],
    ['no key', { cnf: undefined }, /cnf/],
    ['a key of another curve', { cnf: { jwk: { ...jwk, crv: 'P-384' } } }, /P-256/],
    ['a private key', { cnf: { jwk: { ...jwk, d: jwk['x'] } } }, /members/],
    [
      'a coordinate in a second form',
      { cnf: { jwk: { ...jwk, x: `${String(jwk['x']).slice(0, 42)}B` } } },
      /coordinates/,
    ],
  ];
  for (const [what, change, expected] of cases) {
    const result = decodeClaims(JSON.parse(JSON.stringify({ ...good, ...change })));
    t.match(result, expected, what);
  }
});

t.test('token: JSON that can be read in two ways is refused, though it is signed', async (t) => {
  const parts = fromCompact(toCompact(await issue()))!;
  for (const text of [
    parts.payload.replace('{', '{"aud":"kubernetes",'),
    parts.payload.replace('{', '{ '),
    parts.payload.replace('"aud"', String.raw`"\u0061ud"`),
  ]) {
    const jwt = await signRaw(parts.header, text);
    t.match(verifier.verify(toCompact(jwt), NOW), { refusal: { reason: 'token-malformed' } });
  }
});

async function signRaw(header: string, payload: string): Promise<string> {
  const { CompactSign } = await import('jose');
  return new CompactSign(Buffer.from(payload))
    .setProtectedHeader(JSON.parse(header) as { alg: string })
    .sign(trusted.signer.key);
}

t.test('token: a point that is not on the curve is refused', async (t) => {
  const claims = decodeClaimsOf(await issue());
  const y = Buffer.alloc(32, 7).toString('base64url');
  const jwt = await new SignJWT(encodeClaims({ ...claims, key: { x: claims.key.x, y } }))
    .setProtectedHeader({ alg: 'ES256', typ: 'countersign+jwt', kid: trusted.signer.keyId })
    .sign(trusted.signer.key);
  t.match(verifier.verify(toCompact(jwt), NOW), { refusal: { reason: 'token-malformed' } });
});

t.test('token: no change of any byte is accepted, and no bytes make the verifier throw', async (t) => {
  const token = toCompact(await issue());
  for (let offset = 0; offset < token.length; offset++) {
    const changed = token.slice();
    changed[offset]! ^= 1 << (offset % 8);
    if (!('refusal' in verifier.verify(changed, NOW))) t.fail(`byte ${offset}`);
    if (!('refusal' in verifier.verify(token.slice(0, offset), NOW))) t.fail(`cut at ${offset}`);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => 'refusal' in verifier.verify(bytes, NOW)),
    { numRuns: 500 },
  );
});

t.test('token: a small one cannot be blown up', (t) => {
  const { deflateRawSync } = require_zlib();
  const bomb = deflateRawSync(Buffer.alloc(10 << 20, 0x20));
  const wire = Buffer.concat([Buffer.of(1, 64), randomBytes(64), bomb]);
  t.match(verifier.verify(wire, NOW), { refusal: { reason: 'token-malformed' } });
  t.end();
});

function require_zlib() {
  return process.getBuiltinModule('node:zlib');
}

t.test('token: the compact form is lossless for what is signed', async (t) => {
  const jwt = await issue();
  const parts = fromCompact(toCompact(jwt))!;
  t.equal(
    `${Buffer.from(parts.signed).toString()}.${Buffer.from(parts.signature).toString('base64url')}`,
    jwt,
  );
});

t.test('token: it is an ordinary JWT that jose verifies', async (t) => {
  const publicKey = await importJWK(trusted.publicJwk, 'ES256');
  const { payload } = await jwtVerify(await issue(), publicKey, {
    issuer: `spiffe://${DOMAIN}`,
    audience: 'countersign/1',
    typ: 'countersign+jwt',
    currentDate: new Date(NOW * 1000),
  });
  t.equal(payload.sub, 'spiffe://cluster.local/ns/shop/sa/web');
});

t.test('token: labels that only an issuer may assert are dropped from what a pod brings', (t) => {
  t.strictSame(withoutReserved({ app: 'web', 'identity.countersign.io/node': 'x' }), { app: 'web' });
  t.end();
});

t.test('shared secret: tokens are verified with it, and those of issuer keys are not mixed in', async (t) => {
  const secret = parseSharedSecret(JSON.stringify(generateSharedSecret(DOMAIN)), 'psk.jwk');
  const { trustDomain, algorithm, keyId } = secret;
  const signer = { trustDomain, algorithm, keyId, key: secret.keys.get(keyId)! };
  const shared = new TokenVerifier(secret);
  t.match(shared.verify(toCompact(await issue(signer)), NOW), { identity: { podUid: POD.uid } });
  t.match(shared.verify(toCompact(await issue()), NOW), { refusal: { reason: 'token-untrusted' } });
  t.match(verifier.verify(toCompact(await issue(signer)), NOW), { refusal: { reason: 'token-untrusted' } });
  const other = parseSharedSecret(JSON.stringify(generateSharedSecret(DOMAIN)), 'psk.jwk');
  t.match(new TokenVerifier(other).verify(toCompact(await issue(signer)), NOW), {
    refusal: { reason: 'token-untrusted' },
  });
});

t.test('shared secret: a short one is refused with file and field', (t) => {
  const short = { trust_domain: DOMAIN, kty: 'oct', k: randomBytes(31).toString('base64url') };
  t.throws(() => parseSharedSecret(JSON.stringify(short), 'psk.jwk'), {
    message: /psk\.jwk: k has 31 bytes/,
  });
  t.end();
});

t.test('trust bundle: what is wrong is told with file and field', (t) => {
  const { bundle, issuer } = generateIssuer(DOMAIN) as { bundle: { keys: object[] }; issuer: object };
  const cases: [unknown, RegExp][] = [
    ['{', /no JSON/],
    [{ keys: bundle.keys }, /trust_domain/],
    [{ ...bundle, trust_domain: 'A B' }, /trust_domain/],
    [{ ...bundle, keys: [] }, /keys/],
    [{ ...bundle, keys: [issuer] }, /private key/],
    [{ ...bundle, keys: [{ kty: 'RSA' }] }, /keys\[0\] has to be a P-256/],
  ];
  for (const [value, expected] of cases) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    t.throws(() => parseTrustBundle(text, 'trust.jwks'), { message: expected });
  }
  t.end();
});
