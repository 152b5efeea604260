import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mock } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { generateSharedSecret } from '../../src/identity/keys.ts';
import { SharedSecretIdentity } from '../../src/identity/shared-secret-identity.ts';
import { DOMAIN, NOW, samplePod } from './samples.ts';

/** A sidecar's identity under a clock that the test moves. */
function sidecar(t: Test, text = JSON.stringify(generateSharedSecret(DOMAIN))) {
  mock.timers.enable({ apis: ['setInterval', 'Date'], now: NOW * 1000 });
  const folder = mkdtempSync(join(tmpdir(), 'countersign-psk-'));
  const file = join(folder, 'psk.jwk');
  writeFileSync(file, text);
  const identity = new SharedSecretIdentity(file);
  t.teardown(() => {
    identity.close();
    mock.timers.reset();
    rmSync(folder, { recursive: true });
  });
  const own = { pod: samplePod(), namespaceLabels: {} };
  /** Lets so many seconds go by, and the work that they start be done. */
  const pass = async (seconds: number): Promise<void> => {
    mock.timers.setTime(Date.now() + (seconds - 1) * 1000);
    mock.timers.tick(1_000);
    await identity.describe(own);
    await sleep(5);
  };
  return { identity, file, own, pass, token: () => identity.credentials()?.token };
}

t.test('shared secret: a sidecar signs anew every 20 minutes, for 4 hours each time', async (t) => {
  const { identity, own, pass, token } = sidecar(t);
  await identity.describe(own);
  const first = token();
  t.ok(first);
  t.equal(identity.expiresAt, NOW + 4 * 3600);
  await pass(19 * 60);
  t.equal(token(), first);
  await pass(60);
  t.not(token(), first);
  t.equal(identity.expiresAt, NOW + 20 * 60 + 4 * 3600);
});

t.test(
  'shared secret: a secret that went missing serves until the end of the last token, never past it',
  async (t) => {
    const { identity, file, own, pass, token } = sidecar(t);
    await identity.describe(own);
    const first = token();
    rmSync(file);
    await pass(3 * 3600);
    t.equal(token(), first, 'an outage of three hours refuses nobody');
    t.match(identity.problem, /cannot read .*psk\.jwk/);
    await pass(3600);
    t.equal(token(), undefined);
  },
);

t.test(
  'shared secret: a changed secret is in force at the next look, the old one is believed no more',
  async (t) => {
    const { identity, file, own, pass, token } = sidecar(t);
    await identity.describe(own);
    const first = token()!;
    t.match(identity.verify(first), { identity: {} });
    writeFileSync(file, JSON.stringify(generateSharedSecret(DOMAIN)));
    await pass(1);
    t.not(token(), first);
    t.match(identity.verify(first), { refusal: { reason: 'token-untrusted' } });
    t.match(identity.verify(token()!), { identity: { podName: samplePod().name } });
  },
);

t.test('shared secret: a broken file changes nothing and is told, mended it serves again', async (t) => {
  const text = JSON.stringify(generateSharedSecret(DOMAIN));
  const { identity, file, own, pass, token } = sidecar(t, '{"kty":"oct","k":""}');
  await identity.describe(own);
  t.equal(token(), undefined);
  t.match(identity.problem, /trust_domain/);
  writeFileSync(file, text);
  await pass(1);
  t.ok(token());
  t.equal(identity.problem, undefined);
});

t.test('shared secret: of many descriptions at once the latest is signed last', async (t) => {
  const { identity } = sidecar(t);
  const signed: unknown[] = [];
  identity.subscribe(() => {
    const verified = identity.verify(identity.credentials()!.token);
    if ('identity' in verified) signed.push(Number(verified.identity.labels['revision']));
  });
  const revisions = Array.from({ length: 40 }, (_, index) => index);
  await Promise.all(
    revisions.map((revision) =>
      identity.describe({ pod: samplePod({ labels: { revision: String(revision) } }), namespaceLabels: {} }),
    ),
  );
  t.equal(signed.at(-1), 39);
  t.strictSame(signed, [39], 'those that were overtaken are not signed at all');
});

t.test('shared secret: a pod that nobody would accept is a problem, not a defect', async (t) => {
  const { identity } = sidecar(t);
  await identity.describe({ pod: samplePod({ uid: 'a b' }), namespaceLabels: {} });
  t.equal(identity.credentials(), undefined);
  t.match(identity.problem, /pod\.uid/);
});
