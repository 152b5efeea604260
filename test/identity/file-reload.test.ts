import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { toCompact } from '../../src/identity/compact.ts';
import { FileIdentity } from '../../src/identity/file-identity.ts';
import { issueToken, type SigningKey } from '../../src/identity/issue.ts';
import { generateOwnKey } from '../../src/identity/keys.ts';
import { DOMAIN, sampleDomain, samplePod } from './samples.ts';

const now = (): number => Date.now() / 1000;

function setOf(signer: SigningKey, key = generateOwnKey(), begins = now(), ttl = 3600) {
  const token = issueToken(signer, samplePod(), {}, key.publicKey, begins, ttl);
  return { token, key: JSON.stringify(key.jwk), of: key };
}

async function writeSet(
  folder: string,
  set: { token: Promise<string> | string; key: string; trust: string },
) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'token.jwt'), await set.token);
  writeFileSync(join(folder, 'key.jwk'), set.key);
  writeFileSync(join(folder, 'trust.jwks'), set.trust);
}

async function follow(t: Test, folder: string) {
  const identity = new FileIdentity({
    token: join(folder, 'token.jwt'),
    key: join(folder, 'key.jwk'),
    trust: join(folder, 'trust.jwks'),
  });
  t.teardown(() => identity.close());
  let changes = 0;
  identity.subscribe(() => changes++);
  await identity.start();
  return { identity, changes: () => changes };
}

function temporary(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'countersign-reload-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

/** Waits until it is so; a deadline that passes is a failure. */
async function until(t: Test, what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > deadline) {
      t.fail(`not within 30 s: ${what}`);
      return;
    }
    await sleep(20);
  }
  t.pass(what);
}

t.test(
  'trust: a key taken out of the bundle is believed no more, though the own token is of that key',
  async (t) => {
    const folder = temporary(t);
    const [old, renewed] = [sampleDomain(), sampleDomain()];
    const set = setOf(old.signer);
    await writeSet(folder, { ...set, trust: old.bundle });
    const { identity, changes } = await follow(t, folder);
    const peer = toCompact(await setOf(old.signer).token);
    const later = toCompact(await setOf(renewed.signer).token);
    t.match(identity.verify(peer), { identity: { podUid: samplePod().uid } });

    writeFileSync(join(folder, 'trust.jwks'), renewed.bundle);
    await until(t, 'the old key is out', () => 'refusal' in identity.verify(peer));
    t.match(identity.verify(later), { identity: {} });
    t.match(identity.problem, /own token is not accepted \(token-untrusted\)/);
    t.ok(identity.credentials(), 'the own token is still shown to those who believe it');
    t.equal(identity.admissionKeys().length, 1);
    t.equal(changes(), 2, 'sessions are told');
  },
);

t.test('trust: issuer keys are changed without a gap by having both for a while', async (t) => {
  const folder = temporary(t);
  const [one, two] = [sampleDomain(), sampleDomain()];
  const both = JSON.stringify({ trust_domain: DOMAIN, keys: [one.publicJwk, two.publicJwk] });
  const key = generateOwnKey();
  await writeSet(folder, { ...setOf(one.signer, key), trust: one.bundle });
  const { identity } = await follow(t, folder);
  const peers = [toCompact(await setOf(one.signer).token), toCompact(await setOf(two.signer).token)];
  const accepted = (): boolean[] => peers.map((peer) => 'identity' in identity.verify(peer));
  t.strictSame(accepted(), [true, false]);

  writeFileSync(join(folder, 'trust.jwks'), both);
  await until(t, 'both are believed', () => accepted().every(Boolean));
  const before = identity.ownAdmissionKey();
  writeFileSync(join(folder, 'token.jwt'), await setOf(two.signer, key).token);
  await until(t, 'the token of the new key is in force', () => identity.ownAdmissionKey() !== before);
  t.equal(identity.problem, undefined);
  writeFileSync(join(folder, 'trust.jwks'), two.bundle);
  await until(t, 'the new one alone is believed', () => !accepted()[0]);
  t.strictSame(accepted(), [false, true]);
  t.equal(identity.problem, undefined);
});

t.test('trust: a bundle that cannot be read leaves the old one in force', async (t) => {
  const folder = temporary(t);
  const domain = sampleDomain();
  await writeSet(folder, { ...setOf(domain.signer), trust: domain.bundle });
  const { identity, changes } = await follow(t, folder);
  const peer = toCompact(await setOf(domain.signer).token);
  for (const [text, problem] of [
    [domain.bundle.slice(0, 100), /no JSON/],
    ['{}', /trust_domain/],
  ] as const) {
    writeFileSync(join(folder, 'trust.jwks'), text);
    await until(t, String(problem), () => problem.test(identity.problem ?? ''));
    t.match(identity.verify(peer), { identity: {} });
  }
  rmSync(join(folder, 'trust.jwks'));
  await until(t, 'told as missing', () => /cannot read .*trust\.jwks/.test(identity.problem ?? ''));
  t.match(identity.verify(peer), { identity: {} });
  writeFileSync(join(folder, 'trust.jwks'), domain.bundle);
  await until(t, 'the problem is over', () => identity.problem === undefined);
  t.ok(identity.credentials());
  t.ok(changes() >= 1);
});

t.test(
  'identity files: what comes in by the swap of a symbolic link, as mounted Secrets do, is in force whole',
  async (t) => {
    const folder = temporary(t);
    const domain = sampleDomain();
    const [first, second] = [setOf(domain.signer), setOf(domain.signer)];
    await writeSet(join(folder, '..1'), { ...first, trust: domain.bundle });
    await writeSet(join(folder, '..2'), { ...second, trust: domain.bundle });
    symlinkSync('..1', join(folder, '..data'));
    for (const name of ['token.jwt', 'key.jwk', 'trust.jwks'])
      symlinkSync(`..data/${name}`, join(folder, name));
    const { identity } = await follow(t, folder);
    t.match(identity.verify(identity.credentials()!.token), { identity: { key: first.of.publicKey } });
    symlinkSync('..2', join(folder, '..next'));
    renameSync(join(folder, '..next'), join(folder, '..data'));
    const current = (): unknown => {
      const verified = identity.verify(identity.credentials()!.token);
      return 'identity' in verified ? verified.identity.key.x : undefined;
    };
    await until(t, 'the second set is in force', () => current() === second.of.publicKey.x);
    t.equal(identity.problem, undefined);
  },
);

t.test(
  'identity files: a token that is not valid yet takes effect when it begins, without another change',
  async (t) => {
    const folder = temporary(t);
    const domain = sampleDomain();
    await writeSet(folder, { ...setOf(domain.signer, generateOwnKey(), now() + 32), trust: domain.bundle });
    const { identity } = await follow(t, folder);
    t.equal(identity.credentials(), undefined);
    t.match(identity.problem, /token-not-yet-valid/);
    await until(t, 'it has begun (30 s are allowed for clocks)', () => identity.credentials() !== undefined);
    t.equal(identity.problem, undefined);
  },
);

t.test('identity files: a file that is far too large is refused unread', async (t) => {
  const folder = temporary(t);
  const domain = sampleDomain();
  await writeSet(folder, { ...setOf(domain.signer), trust: domain.bundle });
  writeFileSync(join(folder, 'token.jwt'), 'a'.repeat((1 << 20) + 1));
  const { identity } = await follow(t, folder);
  t.match(identity.problem, /token\.jwt: larger than 1048576 bytes/);
  t.match(
    identity.verify(toCompact(await setOf(domain.signer).token)),
    { identity: {} },
    'trust is there all the same',
  );
});

t.test('identity files: with nothing read, nobody is believed', (t) => {
  const identity = new FileIdentity({ token: 't', key: 'k', trust: 'x' });
  t.match(identity.verify(new Uint8Array(10)), { refusal: { reason: 'token-untrusted' } });
  t.match(identity.explainUnadmitted(new Uint8Array(10)), { reason: 'token-untrusted' });
  t.strictSame(identity.admissionKeys(), []);
  t.equal(identity.credentials(), undefined);
  t.end();
});

t.test('revocation: outlives a renewal of the trust bundle, and is told', async (t) => {
  const folder = temporary(t);
  const [one, two] = [sampleDomain(), sampleDomain()];
  await writeSet(folder, { ...setOf(one.signer), trust: one.bundle });
  const { identity, changes } = await follow(t, folder);
  const pod = samplePod({ uid: 'gone' });
  const token = await issueToken(one.signer, pod, {}, generateOwnKey().publicKey, now() - 5, 3600);
  t.match(identity.verify(toCompact(token)), { identity: { podUid: 'gone' } });
  identity.revokeBefore('gone', Math.floor(now()));
  t.equal(changes(), 2);
  const revoked = { refusal: { reason: 'token-expired', detail: /revoked/ } };
  t.match(identity.verify(toCompact(token)), revoked);
  const both = JSON.stringify({ trust_domain: DOMAIN, keys: [one.publicJwk, two.publicJwk] });
  writeFileSync(join(folder, 'trust.jwks'), both);
  await until(t, 'the new bundle is in force', () => identity.admissionKeys().length === 2);
  t.match(identity.verify(toCompact(token)), revoked);
});
