import { execFile } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

const MANIFESTS = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { team: storefront } }
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  uid: 0b1f4d52-6a31-4a6f-9a38-1d7f3f6b1c11
  labels: { app: web, identity.countersign.io/image: forged }
spec: { serviceAccountName: web, containers: [{ name: web, image: web }] }
status: { phase: Running, podIPs: [{ ip: 10.0.0.1 }] }
`;

/** Runs `countersign identity ...` as a user would. */
function identity(args: readonly string[], env: Record<string, string> = {}) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [MAIN, 'identity', ...args], { env }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr });
    });
  });
}

function temporary(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'countersign-command-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  mkdirSync(join(path, 'manifests'));
  writeFileSync(join(path, 'manifests/shop.yaml'), MANIFESTS);
  return path;
}

const modeOf = (file: string): number => statSync(file).mode & 0o777;

t.test('identity command: from a new trust domain to a verified token of a pod', async (t) => {
  const path = temporary(t);
  const [issuer, trust] = [join(path, 'ca/issuer.jwk'), join(path, 'ca/trust.jwks')];
  t.match(await identity(['init', '--trust-domain', 'cluster.local', '--out', join(path, 'ca')]), {
    code: 0,
  });
  const issue = [
    'issue',
    '--issuer-key',
    issuer,
    '--manifests',
    join(path, 'manifests'),
    '--out',
    join(path, 'web'),
  ];
  t.match(await identity([...issue, '--pod', 'shop/web', '--ttl', '90m']), { code: 0, stderr: '' });
  t.strictSame(readdirSync(join(path, 'web')).toSorted(), ['key.jwk', 'token.jwt']);
  t.strictSame(readdirSync(join(path, 'ca')).toSorted(), ['issuer.jwk', 'trust.jwks']);
  for (const file of [issuer, join(path, 'web/key.jwk')]) t.equal(modeOf(file), 0o600, file);
  t.notMatch(readFileSync(trust, 'utf8'), /"d"/, 'the bundle holds no private key');

  const shown = await identity(['show', join(path, 'web/token.jwt'), '--trust', trust, '-o', 'json']);
  t.equal(shown.code, 0);
  const told = JSON.parse(shown.stdout) as { issuedAt: number; expiresAt: number };
  t.match(told, {
    accepted: true,
    trustDomain: 'cluster.local',
    namespace: 'shop',
    podName: 'web',
    serviceAccount: 'web',
    namespaceLabels: { team: 'storefront' },
    header: { alg: 'ES256', typ: 'countersign+jwt' },
  });
  t.strictSame(
    (told as unknown as { labels: unknown }).labels,
    { app: 'web' },
    'reserved labels are dropped',
  );
  t.equal(told.expiresAt - told.issuedAt, 5400);

  const key = readFileSync(join(path, 'web/key.jwk'), 'utf8');
  t.match(await identity([...issue, '--pod', 'shop/web']), { code: 0 });
  t.equal(readFileSync(join(path, 'web/key.jwk'), 'utf8'), key, 'a renewal keeps the key');

  t.match(await identity([...issue, '--pod', 'shop/nobody']), {
    code: 2,
    stderr: /no pod shop\/nobody.*shop\/web/,
  });
  t.match(await identity([...issue, '--pod', 'shop/web', '--ttl', '25h']), {
    code: 2,
    stderr: /--ttl 25h.*at most 24h/,
  });
  const bundleForKey = [...issue, '--pod', 'shop/web', '--issuer-key', trust];
  t.match(await identity(bundleForKey), { code: 2, stderr: /trust\.jwks: has to be a private P-256 key/ });
});

t.test('identity command: show says why a token is not accepted, and exits with 1', async (t) => {
  const path = temporary(t);
  const domain = async (name: string, folder: string): Promise<string> => {
    await identity(['init', '--trust-domain', name, '--out', join(path, folder)]);
    return join(path, folder, 'trust.jwks');
  };
  const [own, other, foreign] = [
    await domain('a.example', 'own'),
    await domain('a.example', 'other'),
    await domain('b.example', 'foreign'),
  ];
  const from = ['--issuer-key', join(path, 'own/issuer.jwk'), '--manifests', join(path, 'manifests')];
  await identity(['issue', ...from, '--pod', 'shop/web', '--out', join(path, 'web')]);
  const token = join(path, 'web/token.jwt');
  t.match(await identity(['show', token]), { code: 0, stdout: /pod +shop\/web/ });
  t.match(await identity(['show', token, '--trust', own]), { code: 0, stdout: /verdict +accepted/ });
  t.match(await identity(['show', token, '--trust', other]), { code: 1, stdout: /verdict +token-untrusted/ });
  t.match(await identity(['show', token, '--trust', foreign]), {
    code: 1,
    stdout: /verdict +foreign-domain: of a\.example/,
  });
  const psk = join(path, 'psk.jwk');
  t.match(await identity(['psk', '--trust-domain', 'a.example', '--out', psk]), { code: 0 });
  t.equal(modeOf(psk), 0o600);
  t.match(await identity(['show', token, '--trust', psk]), { code: 1, stdout: /verdict +token-untrusted/ });
  t.match(await identity(['show', own]), { code: 2, stderr: /trust\.jwks: no JWT/ });
  t.match(await identity(['show', join(path, 'none')]), { code: 2, stderr: /cannot read .*none/ });
});

t.test('identity command: keys and bundles that are there are not replaced without --force', async (t) => {
  const path = temporary(t);
  const init = ['init', '--trust-domain', 'cluster.local', '--out', path];
  writeFileSync(join(path, 'trust.jwks'), 'of another issuer');
  t.match(await identity(init), { code: 2, stderr: /trust\.jwks exists.*--force/ });
  t.strictSame(readdirSync(path).toSorted(), ['manifests', 'trust.jwks'], 'nothing was written');
  t.match(await identity([...init, '--force']), { code: 0 });
  t.match(await identity(init), { code: 2, stderr: /issuer\.jwk exists/ });
  const psk = ['psk', '--trust-domain', 'cluster.local', '--out', join(path, 'issuer.jwk')];
  t.match(await identity(psk), { code: 2, stderr: /issuer\.jwk exists/ });
  t.match(await identity(['init', '--trust-domain', 'Cluster Local', '--out', path]), {
    code: 2,
    stderr: /--trust-domain/,
  });
});

t.test('identity command: what lies prepared beside a private key does not get hold of it', async (t) => {
  const path = temporary(t);
  const prey = join(path, 'prey');
  writeFileSync(prey, '', { mode: 0o666 });
  for (const name of ['issuer.jwk.new', 'issuer.jwk.tmp']) symlinkSync(prey, join(path, name));
  t.match(await identity(['init', '--trust-domain', 'cluster.local', '--out', path]), { code: 0 });
  t.equal(readFileSync(prey, 'utf8'), '');
  t.equal(modeOf(join(path, 'issuer.jwk')), 0o600);
});

t.test('identity command: every flag but --force has its variable', async (t) => {
  const path = temporary(t);
  const env = { COUNTERSIGN_TRUST_DOMAIN: 'cluster.local', COUNTERSIGN_OUT: join(path, 'ca') };
  t.match(await identity(['init'], env), { code: 0, stdout: /wrote .*ca\/issuer\.jwk/ });
  t.match(await identity(['init'], { ...env, COUNTERSIGN_FORCE: '1' }), { code: 2, stderr: /exists/ });
});
