import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CertificateIdentity } from '../../src/pki/certificate-identity.ts';
import { samplePod } from '../identity/samples.ts';
import { until } from '../support/until.ts';
import {
  DOMAIN,
  keyPem,
  makeAuthority,
  makeLeaf,
  NOW,
  type Oddities,
  pemOf,
  podIdentity,
} from './certificates.ts';

const root = await makeAuthority('root');
const WEB = samplePod({ namespace: 'shop', name: 'web', uid: 'uid-web', serviceAccount: 'web-account' });

async function world(t: Test, odd: Oddities = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-pki-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const at = (name: string): string => join(folder, name);
  // As kubelet and editors do: whole or not at all.
  const write = (name: string, text: string): void => {
    writeFileSync(at(`${name}.new`), text);
    renameSync(at(`${name}.new`), at(name));
  };
  const leaf = await makeLeaf(root, odd);
  write('chain.pem', pemOf(leaf));
  write('key.pem', await keyPem(leaf));
  write('roots.pem', pemOf(root));
  const identity = new CertificateIdentity({
    certificate: at('chain.pem'),
    key: at('key.pem'),
    trust: at('roots.pem'),
    trustDomain: DOMAIN,
  });
  t.teardown(() => identity.close());
  const describe = (pod = WEB) => identity.describe({ pod, namespaceLabels: {} });
  return { identity, at, write, describe };
}

t.test(
  'certificate files: who the pod is comes from the source; a certificate of any other pod is refused',
  async (t) => {
    const { identity, describe } = await world(t);
    t.equal(identity.credentials(), undefined, 'before the source has told');
    for (const [what, pod] of [
      ['another name', { ...WEB, name: 'db' }],
      ['another uid: the name is used again', { ...WEB, uid: 'uid-new' }],
      ['another service account', { ...WEB, serviceAccount: 'other' }],
      ['another namespace', { ...WEB, namespace: 'bank' }],
    ] as const) {
      await describe(pod);
      t.match(
        identity.problem,
        /chain\.pem: is of the pod shop\/web \(uid-web, service account web-account\), and this is/,
        what,
      );
      t.equal(identity.credentials(), undefined, what);
    }
    await describe();
    t.equal(identity.problem, undefined);
    t.equal(identity.credentials()?.podUid, 'uid-web');
  },
);

t.test(
  'certificate files: a renewed pair takes effect; between its two files the old one serves',
  async (t) => {
    const { identity, write, describe } = await world(t);
    await describe();
    const first = identity.credentials()!;
    const renewed = await makeLeaf(root, { notAfter: NOW + 7200 });
    write('chain.pem', pemOf(renewed));
    await until('the halves do not fit', () => /does not hold the key/.test(identity.problem ?? ''));
    t.equal(identity.credentials(), first);
    write('key.pem', await keyPem(renewed));
    await until('the new one is in force', () => identity.expiresAt === NOW + 7200);
    t.equal(identity.problem, undefined);
    // With the root in it, and both in one file.
    const bundle = await makeLeaf(root, { notAfter: NOW + 7300 });
    write('chain.pem', `${pemOf(bundle)}${pemOf(root)}`);
    write('key.pem', `${await keyPem(bundle)}${pemOf(bundle)}`);
    await until('the third is in force', () => identity.expiresAt === NOW + 7300);
  },
);

t.test('certificate files: what cannot be used is a problem that names the file', async (t) => {
  const { identity, at, write, describe } = await world(t);
  await describe();
  const first = identity.credentials();
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' });
  const generated = (...args: string[]): string => openssl('genpkey', '-quiet', ...args);
  const usual = await keyPem(await makeLeaf(root));
  const leaf = await makeLeaf(root);
  const stranger = await makeLeaf(await makeAuthority('stranger'));
  const late = await makeLeaf(root, { notBefore: NOW + 3_000 });
  for (const [file, text, problem] of [
    ['key.pem', 'rubbish', /key\.pem: holds 0 private keys/],
    ['key.pem', `${usual}${usual}`, /key\.pem: holds 2 private keys/],
    [
      'key.pem',
      generated('-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'),
      /key\.pem: has to be a private P-256 key/,
    ],
    [
      'key.pem',
      generated('-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-aes256', '-pass', 'pass:x'),
      /key\.pem: the private key cannot be read/,
    ],
    ['chain.pem', pemOf(root), /chain\.pem: holds no certificate of a pod/],
    [
      'chain.pem',
      pemOf(leaf, root, leaf, leaf, leaf, leaf),
      /chain\.pem: 5 certificates without the root; 1 to 4/,
    ],
    ['chain.pem', pemOf(stranger), /own token is not accepted \(token-untrusted\): no trusted root/],
    ['chain.pem', pemOf(late), /own token is not accepted \(token-not-yet-valid\)/],
    ['roots.pem', 'rubbish', /roots\.pem: holds no certificate/],
  ] as const) {
    if (file !== 'key.pem') write('key.pem', usual);
    write(file, text);
    await describe();
    t.match(identity.problem, problem);
    t.equal(identity.credentials(), first, 'the old one serves');
  }
  rmSync(at('roots.pem'));
  await describe();
  t.match(identity.problem, /cannot read .*roots\.pem/);
});

t.test('certificate files: past its end there is no identity', async (t) => {
  const { identity, describe } = await world(t, {
    notAfter: Math.ceil(Date.now() / 1000) + 3,
    podIdentity: podIdentity(),
  });
  await describe();
  await until('it ended', () => identity.credentials() === undefined);
  t.ok(identity.expiresAt! <= Date.now() / 1000);
});
