import type { Test } from 'tap';
import type { IdentityKeeper } from '../../src/identity/identity-keeper.ts';
import { until } from './until.ts';

/** Where keys come from, in the hands of a test: a trust domain with the pods `a` and `b`. */
export interface KeyOrigin {
  /** The identity of a pod, not begun. */
  open(pod: 'a' | 'b'): KeySource;
  /** Makes what `a` reads unusable, but for whom it trusts. */
  spoil(): Promise<void>;
  /** Makes it good again. */
  mend(): Promise<void>;
  /** Takes the trust in the issuer of `b` away from `a`, and gives it another issuer. */
  distrust(): Promise<void>;
  /** The wire form of an identity of `b` that another domain of the same kind signed. */
  stranger(): Promise<Uint8Array>;
  remove(): Promise<void>;
}

export interface KeySource {
  readonly keeper: IdentityKeeper;
  begin(): Promise<void>;
  close(): void;
}

/** The contract of everything that gives a sidecar its identity and its trust in others. */
export function testKeySource(t: Test, subject: string, makeOrigin: () => Promise<KeyOrigin>): void {
  const test = (criterion: string, run: (t: Test, origin: KeyOrigin) => Promise<void>): void => {
    t.test(`${subject}: ${criterion}`, async (t) => {
      const origin = await makeOrigin();
      t.teardown(() => origin.remove());
      await run(t, origin);
    });
  };
  const begun = async (t: Test, origin: KeyOrigin, pod: 'a' | 'b'): Promise<IdentityKeeper> => {
    const source = origin.open(pod);
    t.teardown(() => source.close());
    await source.begin();
    await until(`${pod} has an identity`, () => source.keeper.credentials() !== undefined);
    return source.keeper;
  };
  const shown = (keeper: IdentityKeeper): Uint8Array => keeper.credentials()!.token;
  const proven = (verifier: IdentityKeeper, shower: IdentityKeeper) => {
    const verified = verifier.verify(shown(shower));
    if ('refusal' in verified) throw new Error(verified.refusal.detail);
    return verified.identity;
  };

  test('before it begins there is no identity, nobody is believed, and a problem says so', async (t, origin) => {
    const b = await begun(t, origin, 'b');
    const source = origin.open('a');
    t.teardown(() => source.close());
    t.equal(source.keeper.credentials(), undefined);
    t.equal(source.keeper.ownAdmissionKey(), undefined);
    t.strictSame(source.keeper.admissionKeys(), []);
    t.match(source.keeper.verify(shown(b)), { refusal: { reason: 'token-untrusted' } });
    t.match(source.keeper.explainUnadmitted(shown(b)), { reason: 'token-untrusted' });
    t.type(source.keeper.problem, 'string');
  });

  test('two pods of a domain believe each other, and admit each other', async (t, origin) => {
    const [a, b] = [await begun(t, origin, 'a'), await begun(t, origin, 'b')];
    t.equal(a.problem, undefined);
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      t.equal(proven(one, other).podUid, other.credentials()!.podUid);
      t.ok(one.stillHolds(proven(one, other)));
      const admitted = one.admissionKeys().map((key) => Buffer.from(key).toString('hex'));
      t.ok(admitted.includes(Buffer.from(other.ownAdmissionKey()!).toString('hex')));
    }
    t.not(a.credentials()!.podUid, b.credentials()!.podUid);
    t.equal(a.expiresAt, a.credentials()!.expiresAt);
  });

  test('attack: of strangers and of rubbish nothing is believed', async (t, origin) => {
    const a = await begun(t, origin, 'a');
    const own = shown(a);
    const stranger = await origin.stranger();
    const changed = Uint8Array.from(own);
    changed[Math.floor(own.length / 2)]! ^= 1;
    for (const [what, token] of [
      ['a stranger', stranger],
      ['nothing', new Uint8Array()],
      ['a changed byte', changed],
      ['cut off', own.subarray(0, -1)],
      ['bytes behind it', Uint8Array.from([...own, 0])],
    ] as const) {
      t.ok('refusal' in a.verify(token), what);
    }
    t.match(a.explainUnadmitted(stranger), { reason: /token-untrusted|foreign-domain/ });
  });

  test('what cannot be used is told and changes nothing, and is told no more when it is mended', async (t, origin) => {
    const [a, b] = [await begun(t, origin, 'a'), await begun(t, origin, 'b')];
    const { token } = a.credentials()!;
    await origin.spoil();
    await until('the problem is told', () => a.problem !== undefined);
    t.strictSame(a.credentials()!.token, token);
    t.equal(proven(a, b).podUid, b.credentials()!.podUid);
    await origin.mend();
    await until('the problem is gone', () => a.problem === undefined);
    t.ok(a.credentials());
  });

  test('an issuer that is trusted no more is believed no more, also for what was proven before', async (t, origin) => {
    const [a, b] = [await begun(t, origin, 'a'), await begun(t, origin, 'b')];
    const identity = proven(a, b);
    let heard = 0;
    a.subscribe(() => heard++);
    const token = shown(b);
    await origin.distrust();
    await until('it is believed no more', () => 'refusal' in a.verify(token));
    t.notOk(a.stillHolds(identity));
    t.ok(heard > 0, 'and listeners were told');
  });

  test('a not-before mark kills what was issued before, and nothing of others', async (t, origin) => {
    const [a, b] = [await begun(t, origin, 'a'), await begun(t, origin, 'b')];
    const identity = proven(a, b);
    a.revokeBefore('somebody-else', identity.issuedAt + 1);
    t.ok(a.stillHolds(identity));
    a.revokeBefore(identity.podUid, identity.issuedAt);
    t.ok(a.stillHolds(identity), 'a mark of its own second is not over it');
    a.revokeBefore(identity.podUid, identity.issuedAt + 1);
    t.notOk(a.stillHolds(identity));
    t.match(a.verify(shown(b)), { refusal: { reason: 'token-expired' } });
  });

  test('past its end the own identity is shown no more, and that of others is refused', async (t, origin) => {
    const [a, b] = [await begun(t, origin, 'a'), await begun(t, origin, 'b')];
    const token = shown(b);
    const clock = Date.now;
    t.teardown(() => (Date.now = clock));
    const end = b.credentials()!.expiresAt;
    // Nothing is awaited meanwhile: what renews by itself would.
    Date.now = () => (end - 1) * 1000;
    t.ok('identity' in a.verify(token));
    Date.now = () => end * 1000;
    t.match(a.verify(token), { refusal: { reason: 'token-expired' } });
    t.equal(b.credentials(), undefined);
    Date.now = clock;
  });
}
