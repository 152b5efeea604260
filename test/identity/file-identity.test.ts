import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { FileIdentity, readSmallFile } from '../../src/identity/file-identity.ts';
import { initTrustDomain, issueIdentity, showIdentity, writeSharedSecret } from '../../src/identity/files.ts';
import { SharedSecretIdentity } from '../../src/identity/shared-secret-identity.ts';
import type { Pod } from '../../src/peers/directory.ts';

const pod = (name: string): Pod => ({
  namespace: 'demo',
  name,
  uid: `uid-${name}`,
  serviceAccount: 'default',
  labels: { app: name },
  addresses: [],
  nodeName: undefined,
  ports: [],
  probePorts: [],
  enrolled: true,
  hostNetwork: false,
});

async function folder(t: Test) {
  const path = mkdtempSync(join(tmpdir(), 'countersign-identity-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  initTrustDomain('cluster.local', path, false);
  const issue = (name: string, ttl = 3600) =>
    issueIdentity(join(path, 'issuer.jwk'), pod(name), {}, ttl, join(path, name));
  await issue('a');
  const files = {
    token: join(path, 'a/token.jwt'),
    key: join(path, 'a/key.jwk'),
    trust: join(path, 'trust.jwks'),
  };
  return { path, files, issue };
}

t.test(
  'identity files: keys are readable by their owner alone, and an issuer key is not replaced by accident',
  async (t) => {
    const { path } = await folder(t);
    for (const file of ['issuer.jwk', 'a/key.jwk']) t.equal(statSync(join(path, file)).mode & 0o777, 0o600);
    t.throws(() => initTrustDomain('cluster.local', path, false), { message: /exists/ });
    initTrustDomain('cluster.local', path, true);
  },
);

t.test('identity files: a renewed token takes effect, a broken or foreign one does not', async (t) => {
  const { path, files, issue } = await folder(t);
  const identity = new FileIdentity(files);
  t.teardown(() => identity.close());
  let changes = 0;
  identity.subscribe(() => changes++);
  await identity.start();
  const first = identity.credentials()!;
  t.equal(first.podUid, 'uid-a');

  writeFileSync(files.token, 'rubbish');
  await until(() => identity.problem !== undefined);
  t.match(identity.problem, /JWT/);
  t.equal(identity.credentials(), first, 'the old one serves on');

  await issue('b');
  cpSync(join(path, 'b/token.jwt'), files.token);
  await until(() => /does not hold/.test(identity.problem ?? ''));
  t.match(identity.problem, /does not hold the key/);
  t.equal(identity.credentials(), first);

  await issue('a');
  await until(() => identity.problem === undefined);
  t.equal(identity.problem, undefined);
  t.not(identity.credentials()!.token, first.token);
  t.equal(changes, 2);
});

t.test('identity files: past its end there is no identity', async (t) => {
  const { files, issue } = await folder(t);
  await issue('a', 3);
  const identity = new FileIdentity(files);
  t.teardown(() => identity.close());
  await identity.start();
  t.ok(identity.credentials());
  await until(() => identity.credentials() === undefined);
  t.equal(identity.credentials(), undefined);
});

t.test('identity files: missing ones are a problem that names the file, and are waited for', async (t) => {
  const { files } = await folder(t);
  const identity = new FileIdentity({ ...files, token: `${files.token}.not-there` });
  t.teardown(() => identity.close());
  await identity.start();
  t.equal(identity.credentials(), undefined);
  t.match(identity.problem, /cannot read .*not-there/);
});

t.test('shared secret: a sidecar signs for its own pod, anew when its labels change', async (t) => {
  const { path } = await folder(t);
  const file = join(path, 'psk.jwk');
  writeSharedSecret('cluster.local', file, false);
  const [one, two] = [new SharedSecretIdentity(file), new SharedSecretIdentity(file)];
  t.teardown(() => {
    one.close();
    two.close();
  });
  await one.describe({ pod: pod('one'), namespaceLabels: {} });
  await two.describe({ pod: pod('two'), namespaceLabels: {} });
  const first = one.credentials()!.token;
  t.match(two.verify(first), { identity: { podName: 'one', labels: { app: 'one' } } });
  await one.describe({ pod: pod('one'), namespaceLabels: {} });
  t.equal(one.credentials()!.token, first);
  await one.describe({ pod: { ...pod('one'), labels: { app: 'new' } }, namespaceLabels: {} });
  t.match(two.verify(one.credentials()!.token), { identity: { labels: { app: 'new' } } });
});

t.test('identity show: says what a token says and whether it is accepted', async (t) => {
  const { path, files } = await folder(t);
  t.match(showIdentity(files.token, files.trust, 'text'), {
    accepted: true,
    text: /pod +demo\/a[\s\S]*labels +app=a[\s\S]*verdict +accepted/,
  });
  const other = join(path, 'other');
  initTrustDomain('other.example', other, false);
  t.match(showIdentity(files.token, join(other, 'trust.jwks'), 'text'), {
    accepted: false,
    text: /foreign-domain/,
  });
});

/** Waits for something that a busy machine may take a while for. */
async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition() && waited < 30_000; waited += 20) await sleep(20);
}

t.test('files: a file is read whole, whatever its length, up to the most that is read', async (t) => {
  const file = join((await folder(t)).path, 'text');
  for (const length of [0, 1, 16_383, 16_384, 16_385, 100_000, 1 << 20]) {
    const text = 'abcdefg'.repeat(length / 7 + 1).slice(0, length);
    writeFileSync(file, text);
    t.ok((await readSmallFile(file)) === text, `${length} bytes`);
  }
  writeFileSync(file, 'a'.repeat((1 << 20) + 1));
  await t.rejects(readSmallFile(file), /larger than 1048576 bytes/);
});
