import { createECDH, generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { SignJWT, UnsecuredJWT } from 'jose';
import t from 'tap';
import { AUDIENCE, CLOCK_SKEW, decodeClaims, encodeClaims, TOKEN_TYPE } from '../../src/identity/claims.ts';
import { fromCompact, toCompact } from '../../src/identity/compact.ts';
import { issueToken } from '../../src/identity/issue.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import { admissionKey, parseSharedSecret, parseTrustBundle } from '../../src/identity/trust.ts';
import { TokenVerifier } from '../../src/identity/verify.ts';
import { generateSharedSecret } from '../../src/identity/keys.ts';
import { DOMAIN, NOW, OWN_KEY, sampleDomain, samplePod, sampleToken } from './samples.ts';

const domain = sampleDomain();
const header = { alg: 'ES256', typ: TOKEN_TYPE, kid: domain.signer.keyId };
const sign = (payload: Record<string, unknown>, over: Record<string, unknown> = {}): Promise<string> =>
  new SignJWT(payload).setProtectedHeader({ ...header, ...over }).sign(domain.signer.key);

function payloadOf(jwt: string): Record<string, unknown> {
  return JSON.parse(fromCompact(toCompact(jwt))!.payload) as Record<string, unknown>;
}
const good = payloadOf(await sampleToken(domain.signer));
const reasonOf = (jwt: string, now = NOW, verifier = new TokenVerifier(domain.trust)): string => {
  const verified = verifier.verify(toCompact(jwt), now);
  return 'refusal' in verified ? verified.refusal.reason : 'accepted';
};

t.test(
  'verifier: a token that somebody else made by the rules is accepted, in any order of members',
  async (t) => {
    const { cnf, pod, ...rest } = good;
    t.equal(reasonOf(await sign({ pod, cnf, ...rest })), 'accepted');
    t.equal(reasonOf(await sign({ ...good, extension: { of: 'a later release' } })), 'accepted');
  },
);

t.test('verifier: every broken token has its reason', async (t) => {
  const foreign = sampleDomain('evil.example');
  const jwk = (good['cnf'] as { jwk: Record<string, unknown> }).jwk;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' });
  const pod = good['pod'] as Record<string, unknown>;
  const evil = { iss: 'spiffe://evil.example', sub: 'spiffe://evil.example/ns/shop/sa/web' };
  const labels = Object.fromEntries(Array.from({ length: 129 }, (_, index) => [`l${index}`, '']));
  const cases: [string, string, string][] = [
    ['untouched', await sign(good), 'accepted'],
    ['alg none', new UnsecuredJWT(good).encode(), 'token-untrusted'],
    ['crit', await sign(good, { crit: ['b64'], b64: true }), 'token-untrusted'],
    ['key id of nobody', await sign(good, { kid: 'x'.repeat(43) }), 'token-untrusted'],
    ['key id of another kind', await sign(good, { kid: 7 }), 'token-untrusted'],
    ['no key id', await sign(good, { kid: undefined }), 'token-untrusted'],
    ['another type of token', await sign(good, { typ: 'JWT' }), 'token-untrusted'],
    [
      'signed by a foreign key',
      await sampleToken({ ...foreign.signer, trustDomain: DOMAIN }),
      'token-untrusted',
    ],
    ['of a foreign domain, signed there', await sampleToken(foreign.signer), 'foreign-domain'],
    ['of a foreign domain, signed here', await sign({ ...good, ...evil }), 'foreign-domain'],
    ['sub of a foreign domain', await sign({ ...good, sub: evil.sub }), 'token-malformed'],
    ['iss of a foreign domain', await sign({ ...good, iss: evil.iss }), 'token-malformed'],
    ['iss with upper case', await sign({ ...good, iss: 'spiffe://Cluster.local' }), 'token-malformed'],
    ['no cnf', await sign({ ...good, cnf: undefined }), 'token-malformed'],
    ['cnf by name alone', await sign({ ...good, cnf: { kid: 'x' } }), 'token-malformed'],
    ['cnf of P-384', await sign({ ...good, cnf: { jwk: p384 } }), 'token-malformed'],
    [
      'cnf with its private part',
      await sign({ ...good, cnf: { jwk: { ...jwk, d: jwk['x'] } } }),
      'token-malformed',
    ],
    ['cnf off the curve', await sign({ ...good, cnf: { jwk: { ...jwk, y: jwk['x'] } } }), 'token-malformed'],
    ['a list for an audience', await sign({ ...good, aud: [AUDIENCE] }), 'token-malformed'],
    ['too many labels', await sign({ ...good, pod: { ...pod, labels } }), 'token-malformed'],
    [
      'a label value of 64 characters',
      await sign({ ...good, pod: { ...pod, labels: { a: 'a'.repeat(64) } } }),
      'token-malformed',
    ],
    ['a list for labels', await sign({ ...good, pod: { ...pod, labels: ['app'] } }), 'token-malformed'],
    [
      'an end behind the calendar',
      await sign({ ...good, iat: 1e15, nbf: 1, exp: 1e15 + 1 }),
      'token-malformed',
    ],
    ['a life of a day and a second', await sign({ ...good, exp: NOW + 86_401 }), 'token-malformed'],
    ['a token id of 65 characters', await sign({ ...good, jti: 'j'.repeat(65) }), 'token-malformed'],
  ];
  for (const [what, jwt, expected] of cases) t.equal(reasonOf(jwt), expected, what);
});

t.test('verifier: beginning and end count from the earlier and later of the claims', async (t) => {
  const later = NOW + 100;
  for (const change of [{ nbf: later }, { iat: later }]) {
    const jwt = await sign({ ...good, ...change });
    t.equal(reasonOf(jwt, later - CLOCK_SKEW - 1), 'token-not-yet-valid');
    t.equal(reasonOf(jwt, later - CLOCK_SKEW), 'accepted');
  }
});

t.test('verifier: what is remembered ends at its end all the same', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const jwt = await sampleToken(domain.signer);
  t.equal(reasonOf(jwt, NOW + 3599, verifier), 'accepted');
  t.equal(verifier.remembered, 1);
  t.equal(reasonOf(jwt, NOW + 3600, verifier), 'token-expired');
  t.equal(reasonOf(jwt, NOW - 3600, verifier), 'token-not-yet-valid');
});

t.test('verifier: a second form of one token names the same pod and takes no second place', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const wire = toCompact(await sampleToken(domain.signer));
  t.match(verifier.verify(wire, NOW), { identity: { podName: samplePod().name } });
  // ECDSA: whoever has (r, s) has (r, n - s) as well. Sessions and transcripts are bound to the exact bytes, so this gains nothing.
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
  const other = Buffer.from(wire);
  const s = BigInt(`0x${other.subarray(34, 66).toString('hex')}`);
  other.write((order - s).toString(16).padStart(64, '0'), 34, 'hex');
  t.notSame(other, Buffer.from(wire));
  t.match(verifier.verify(other, NOW), { identity: { podName: samplePod().name } });
  t.equal(verifier.remembered, 1);
  t.match(verifier.verify(wire, NOW), { identity: { podName: samplePod().name } });
  t.equal(verifier.remembered, 1);
});

t.test('verifier: refused tokens are not remembered', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  for (let index = 0; index < 50; index++) verifier.verify(randomBytes(200), NOW);
  reasonOf(await sampleToken(sampleDomain('evil.example').signer), NOW, verifier);
  reasonOf(await sampleToken(domain.signer), NOW + 4000, verifier);
  t.equal(verifier.remembered, 0);
});

t.test('verifier: never throws, whatever is signed', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const members = Object.keys(good);
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...members), fc.jsonValue({ maxDepth: 3 }), async (member, value) => {
      const jwt = await sign({ ...good, [member]: value });
      const verified = verifier.verify(toCompact(jwt), NOW);
      return 'refusal' in verified || JSON.stringify(verified.identity.tokenId).length > 2;
    }),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const claims = decodeClaims(value);
      return typeof claims === 'string';
    }),
    { numRuns: 500 },
  );
  t.equal(reasonOf(await sign(good), NOW, verifier), 'accepted', 'and it works on');
});

t.test('claims: what is encoded is decoded as it was', (t) => {
  const claims = decodeClaims(good);
  if (typeof claims === 'string') throw new Error(claims);
  t.strictSame(JSON.parse(JSON.stringify(encodeClaims(claims))), good);
  t.end();
});

t.test(
  'revocation: tokens from before the mark are dead, also remembered ones, later ones live',
  async (t) => {
    const revocations = new Revocations();
    const verifier = new TokenVerifier(domain.trust, revocations);
    const uid = samplePod().uid;
    const [old, renewed] = [
      await sampleToken(domain.signer),
      await sampleToken(domain.signer, samplePod(), NOW + 60),
    ];
    const other = await sampleToken(domain.signer, samplePod({ uid: 'other' }));
    t.equal(reasonOf(old, NOW, verifier), 'accepted');
    revocations.revokeBefore(uid, NOW + 60, NOW + 60);
    t.match(verifier.verify(toCompact(old), NOW + 60), {
      refusal: { reason: 'token-expired', detail: /revoked/ },
    });
    t.equal(reasonOf(renewed, NOW + 60, verifier), 'accepted');
    t.equal(reasonOf(other, NOW + 60, verifier), 'accepted');
    revocations.revokeBefore(uid, NOW, NOW + 60);
    t.equal(reasonOf(old, NOW + 60, verifier), 'token-expired', 'a mark never goes back');
  },
);

t.test('revocation: marks are bounded, and those that have done their work make room', (t) => {
  const revocations = new Revocations();
  for (let index = 0; index < 16_384; index++) revocations.revokeBefore(`pod-${index}`, NOW, NOW);
  t.throws(() => revocations.revokeBefore('one-more', NOW, NOW), RangeError);
  t.equal(revocations.markOver('pod-0', NOW - 1), NOW);
  revocations.revokeBefore('one-more', NOW + 90_000, NOW + 90_000);
  t.equal(revocations.size, 1);
  t.end();
});

t.test('admission keys: differ between domains and keys, and a secret gives its own away to nobody', (t) => {
  const one = admissionKey(domain.trust, domain.signer.keyId)!;
  const two = admissionKey(sampleDomain().trust, domain.signer.keyId);
  t.equal(one.length, 32);
  t.equal(two, undefined, 'no key for a key id that is not in the bundle');
  const text = JSON.stringify(generateSharedSecret(DOMAIN));
  const secret = parseSharedSecret(text, 'psk.jwk');
  const admission = Buffer.from(admissionKey(secret, secret.keyId)!);
  t.notSame(admission, secret.keys.get(secret.keyId)!.export());
  t.same(admission, Buffer.from(admissionKey(parseSharedSecret(text, 'copy.jwk'), secret.keyId)!));
  t.end();
});

const randomName = (): string => `a${randomBytes(30).toString('hex')}`;

t.test('issuing: what nobody would accept is refused with the pod and the rule', async (t) => {
  const cases: [Parameters<typeof samplePod>[0], RegExp][] = [
    [{ uid: 'a b' }, /shop\/web-7d4b9c6f5-x2x9z: pod.uid/],
    [{ serviceAccount: 'Default' }, /sub is no spiffe/],
    [{ labels: { 'a b': 'x' } }, /pod.labels: "a b"/],
    [
      {
        labels: Object.fromEntries(
          Array.from({ length: 128 }, (): [string, string] => [randomName(), randomName()]),
        ),
      },
      /bytes/,
    ],
  ];
  for (const [over, expected] of cases) {
    await t.rejects(sampleToken(domain.signer, samplePod(over)), { name: 'UserError', message: expected });
  }
  await t.rejects(sampleToken(domain.signer, samplePod(), NOW, 86_401), {
    name: 'UserError',
    message: /exp/,
  });
});

t.test('issuing: reserved labels are taken from neither the pod nor its namespace', async (t) => {
  const reserved = { app: 'web', 'identity.countersign.io/image': 'sha256-0' };
  const pod = samplePod({ labels: reserved });
  const jwt = await issueToken(domain.signer, pod, reserved, OWN_KEY.publicKey, NOW, 60);
  t.match(payloadOf(jwt), { pod: { labels: { app: 'web' }, ns_labels: { app: 'web' } } });
  t.notMatch(JSON.stringify(payloadOf(jwt)), /identity\.countersign\.io/);
});

t.test('trust bundle: a key is known by its thumbprint and used for this alone', (t) => {
  const bundle = (over: object) =>
    JSON.stringify({ trust_domain: DOMAIN, keys: [{ ...domain.publicJwk, ...over }] });
  const cases: [object, RegExp][] = [
    [{ kid: 'mine' }, /trust\.jwks: keys\[0\]\.kid has to be/],
    [{ alg: 'ES384' }, /keys\[0\]\.alg has to be ES256/],
    [{ use: 'enc' }, /keys\[0\]\.use has to be sig/],
    [{ y: domain.publicJwk['x'] }, /no valid point/],
  ];
  for (const [over, expected] of cases) {
    t.throws(() => parseTrustBundle(bundle(over), 'trust.jwks'), { message: expected });
  }
  const { kty, crv, x, y } = domain.publicJwk;
  const bare = JSON.stringify({ trust_domain: DOMAIN, keys: [{ kty, crv, x, y }] });
  t.strictSame([...parseTrustBundle(bare, 'trust.jwks').keys.keys()], [domain.signer.keyId]);
  const many = Array.from({ length: 17 }, () => sampleDomain().publicJwk);
  const text = JSON.stringify({ trust_domain: DOMAIN, keys: many });
  t.throws(() => parseTrustBundle(text, 'trust.jwks'), { message: /keys has 17 keys; 16 is the most/ });
  t.end();
});

t.test('shared secret: text that is no base64url is refused, not read as something shorter', (t) => {
  const k = `${randomBytes(32).toString('base64url')}\n!`;
  const text = JSON.stringify({ trust_domain: DOMAIN, kty: 'oct', k });
  t.throws(() => parseSharedSecret(text, 'psk.jwk'), { message: /psk\.jwk: k has to be base64url/ });
  t.end();
});

t.test('keys: a sidecar key whose halves do not belong together is refused', async (t) => {
  const { parseOwnKey } = await import('../../src/identity/keys.ts');
  const stranger = createECDH('prime256v1');
  stranger.generateKeys();
  const x = stranger.getPublicKey().subarray(1, 33).toString('base64url');
  const y = stranger.getPublicKey().subarray(33).toString('base64url');
  t.throws(() => parseOwnKey(JSON.stringify({ ...OWN_KEY.jwk, x, y }), 'key.jwk'), {
    message: /key\.jwk: x and y/,
  });
  t.same(parseOwnKey(JSON.stringify(OWN_KEY.jwk), 'key.jwk').publicKey, OWN_KEY.publicKey);
});
