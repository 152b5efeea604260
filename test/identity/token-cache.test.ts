import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { toCompact } from '../../src/identity/compact.ts';
import { IdentityKeeper } from '../../src/identity/identity-keeper.ts';
import { IdentityState } from '../../src/identity/identity-state.ts';
import { Revocations } from '../../src/identity/revocations.ts';
import { parseTrustBundle } from '../../src/identity/trust.ts';
import { TrustInForce } from '../../src/identity/trust-in-force.ts';
import { TokenVerifier, type Verification } from '../../src/identity/verify.ts';
import { runs } from '../support/effort.ts';
import { DOMAIN, NOW, OWN_KEY, sampleDomain, samplePod, sampleToken } from './samples.ts';

const domain = sampleDomain();
const tokens = await Promise.all(
  [0, 1, 2, 3].map(async (index) =>
    toCompact(
      await sampleToken(domain.signer, samplePod({ uid: `pod-${index % 3}` }), NOW + 100 * index, 300),
    ),
  ),
);
const outcome = (verified: Verification): string =>
  'refusal' in verified ? `${verified.refusal.reason} ${verified.refusal.detail}` : verified.identity.tokenId;

t.test(
  'attack: a verifier that remembers answers as one that remembers nothing, wherever time goes and whatever is revoked',
  (t) => {
    const step = fc.oneof(
      fc.record({ verify: fc.nat(tokens.length - 1) }),
      fc.record({ verify: fc.nat(tokens.length - 1), bit: fc.nat(tokens[0]!.length * 8 - 1) }),
      // Clocks go back, too.
      fc.record({ move: fc.integer({ min: -400, max: 400 }) }),
      fc.record({ revoke: fc.nat(2), before: fc.integer({ min: -50, max: 400 }) }),
    );
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 30 }), (steps) => {
        const revocations = new Revocations();
        const verifier = new TokenVerifier(domain.trust, revocations);
        let now = NOW;
        for (const one of steps) {
          if ('move' in one) now += one.move;
          else if ('revoke' in one) revocations.revokeBefore(`pod-${one.revoke}`, NOW + one.before, now);
          else {
            const token = Uint8Array.from(tokens[one.verify]!);
            if ('bit' in one) token[one.bit >> 3]! ^= 1 << (one.bit & 7);
            const answer = outcome(verifier.verify(token, now));
            const kind = answer.split(' ')[0]!;
            seen.set(kind, (seen.get(kind) ?? 0) + 1);
            if (answer !== outcome(new TokenVerifier(domain.trust, revocations).verify(token, now)))
              return false;
          }
        }
        return true;
      }),
      { numRuns: runs(200) },
    );
    for (const kind of ['token-expired', 'token-not-yet-valid', 'token-untrusted'])
      t.ok((seen.get(kind) ?? 0) > 20, kind);
    t.ok(seen.size > 6, 'and accepted ones');
    t.end();
  },
);

t.test('attack: tokens that are refused take no memory and push nobody out of it', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const good = toCompact(await sampleToken(domain.signer));
  verifier.verify(good, NOW);
  const expired = toCompact(await sampleToken(domain.signer, samplePod({ uid: 'late' }), NOW - 7200));
  const forged = toCompact(await sampleToken({ ...sampleDomain().signer, keyId: domain.signer.keyId }));
  for (let round = 0; round < 300; round++) {
    const changed = Uint8Array.from(good);
    changed.set(randomBytes(4), 2 + (round % 60));
    for (const token of [changed, expired, forged, randomBytes(1 + round)]) {
      t.ok('refusal' in verifier.verify(token, NOW));
    }
  }
  t.equal(verifier.remembered, 1);
});

t.test(
  'attack: a remembered token is worth nothing once its issuer key is out of the trust bundle',
  async (t) => {
    const [old, next] = [sampleDomain(), sampleDomain()];
    const now = Math.floor(Date.now() / 1000);
    const bundle = (...keys: unknown[]) =>
      new TrustInForce(parseTrustBundle(JSON.stringify({ trust_domain: DOMAIN, keys }), 'trust.jwks'));
    const token = toCompact(await sampleToken(old.signer, samplePod(), now));
    const own = await sampleToken(next.signer, samplePod({ uid: 'own' }), now);
    const keeper = new IdentityKeeper();
    const put = (trust: TrustInForce): void =>
      keeper.replace(() => new IdentityState(toCompact(own), OWN_KEY, trust, now), trust);
    put(bundle(old.publicJwk, next.publicJwk));
    for (let round = 0; round < 2; round++)
      t.match(keeper.verify(token), { identity: { issuerKeyId: old.signer.keyId } });
    put(bundle(next.publicJwk));
    t.match(keeper.verify(token), { refusal: { reason: 'token-untrusted' } });
    t.equal(keeper.stillHolds({ issuerKeyId: old.signer.keyId, podUid: 'x', issuedAt: now }), false);
  },
);

t.test('attack: whoever has one token may not take the places of others with its many forms', async (t) => {
  const verifier = new TokenVerifier(domain.trust);
  const honest = toCompact(await sampleToken(domain.signer, samplePod({ uid: 'honest' })));
  verifier.verify(honest, NOW);
  const wire = toCompact(await sampleToken(domain.signer));
  // (r, n - s) is a signature of the same text: the one other form that needs no work.
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
  const mirrored = Buffer.from(wire);
  const s = BigInt(`0x${mirrored.subarray(34, 66).toString('hex')}`);
  mirrored.write((order - s).toString(16).padStart(64, '0'), 34, 'hex');
  for (let round = 0; round < 10; round++) {
    for (const form of [wire, mirrored])
      t.match(verifier.verify(form, NOW), { identity: { podUid: samplePod().uid } });
  }
  t.equal(verifier.remembered, 2, 'one of the honest pod, one of the other');
});
