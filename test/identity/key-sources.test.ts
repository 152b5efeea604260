import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { AuthorityIdentity } from '../../src/authority-client/authority-identity.ts';
import { toCompact } from '../../src/identity/compact.ts';
import { FileIdentity } from '../../src/identity/file-identity.ts';
import { issueToken } from '../../src/identity/issue.ts';
import { generateOwnKey, generateSharedSecret } from '../../src/identity/keys.ts';
import { SharedSecretIdentity } from '../../src/identity/shared-secret-identity.ts';
import { parseSharedSecret } from '../../src/identity/trust.ts';
import { CertificateIdentity } from '../../src/pki/certificate-identity.ts';
import { keyPem, makeAuthority, makeLeaf, pemOf, podIdentity, wireOf } from '../pki/certificates.ts';
import { type KeyOrigin, testKeySource } from '../support/key-source-compliance.ts';
import { DOMAIN, sampleDomain, samplePod } from './samples.ts';

const now = (): number => Math.floor(Date.now() / 1000);
const podOf = (name: string) =>
  samplePod({ namespace: 'shop', name, uid: `uid-${name}`, serviceAccount: 'web-account' });

function folder(): string {
  return mkdtempSync(join(tmpdir(), 'countersign-keys-'));
}

testKeySource(t, 'token files', async (): Promise<KeyOrigin> => {
  const at = folder();
  const [domain, other] = [sampleDomain(), sampleDomain()];
  const key = generateOwnKey();
  const tokenOf = (name: string, signer = domain.signer) =>
    issueToken(signer, podOf(name), {}, key.publicKey, now(), 3_600);
  const write = async (name: string): Promise<void> => {
    writeFileSync(join(at, `${name}.jwt`), await tokenOf(name));
    writeFileSync(join(at, `${name}.jwk`), JSON.stringify(key.jwk));
    writeFileSync(join(at, `${name}.jwks`), domain.bundle);
  };
  for (const name of ['a', 'b']) await write(name);
  return {
    open: (name) => {
      const files = {
        token: join(at, `${name}.jwt`),
        key: join(at, `${name}.jwk`),
        trust: join(at, `${name}.jwks`),
      };
      const keeper = new FileIdentity(files);
      return { keeper, begin: () => keeper.start(), close: () => keeper.close() };
    },
    spoil: async () => writeFileSync(join(at, 'a.jwt'), 'rubbish'),
    mend: () => write('a'),
    distrust: async () => writeFileSync(join(at, 'a.jwks'), other.bundle),
    stranger: async () => toCompact(await tokenOf('b', other.signer)),
    remove: async () => rmSync(at, { recursive: true }),
  };
});

testKeySource(t, 'pre-shared secret', async (): Promise<KeyOrigin> => {
  const at = folder();
  const [secret, other] = [generateSharedSecret(DOMAIN), generateSharedSecret(DOMAIN)].map((one) =>
    JSON.stringify(one),
  );
  const write = (name: string, text = secret!): void => writeFileSync(join(at, `${name}.jwk`), text);
  for (const name of ['a', 'b']) write(name);
  return {
    open: (name) => {
      const keeper = new SharedSecretIdentity(join(at, `${name}.jwk`));
      const begin = () => keeper.describe({ pod: podOf(name), namespaceLabels: {} });
      return { keeper, begin, close: () => keeper.close() };
    },
    spoil: async () => write('a', 'rubbish'),
    mend: async () => write('a'),
    distrust: async () => write('a', other),
    stranger: async () => {
      const { trustDomain, algorithm, keyId, keys } = parseSharedSecret(other!, 'other');
      const signer = { trustDomain, algorithm, keyId, key: keys.get(keyId)! };
      return toCompact(await issueToken(signer, podOf('b'), {}, generateOwnKey().publicKey, now(), 3_600));
    },
    remove: async () => rmSync(at, { recursive: true }),
  };
});

testKeySource(t, 'certificates', async (): Promise<KeyOrigin> => {
  const at = folder();
  const [root, other] = [await makeAuthority('root'), await makeAuthority('root')];
  const middle = await makeAuthority('middle', { issuer: root });
  const leafOf = (name: string, issuer = middle) =>
    makeLeaf(issuer, { podIdentity: podIdentity({ pod: name, uid: `uid-${name}` }), notBefore: now() - 60 });
  const write = async (name: string): Promise<void> => {
    const leaf = await leafOf(name);
    writeFileSync(join(at, `${name}.pem`), `${await keyPem(leaf)}${pemOf(leaf, middle)}`);
    writeFileSync(join(at, `${name}.roots.pem`), pemOf(root));
  };
  for (const name of ['a', 'b']) await write(name);
  return {
    open: (name) => {
      const certificate = join(at, `${name}.pem`);
      const trust = join(at, `${name}.roots.pem`);
      const keeper = new CertificateIdentity({ certificate, key: certificate, trust, trustDomain: DOMAIN });
      const begin = () => keeper.describe({ pod: podOf(name), namespaceLabels: {} });
      return { keeper, begin, close: () => keeper.close() };
    },
    spoil: async () => writeFileSync(join(at, 'a.pem'), 'rubbish'),
    mend: () => write('a'),
    distrust: async () => writeFileSync(join(at, 'a.roots.pem'), pemOf(other)),
    stranger: async () => wireOf(await leafOf('b', other)),
    remove: async () => rmSync(at, { recursive: true }),
  };
});

testKeySource(t, 'authority', async (): Promise<KeyOrigin> => {
  const [domain, other] = [sampleDomain(), sampleDomain()];
  const trust = JSON.parse(domain.bundle) as object;
  const tokenOf = (name: string, key: ReturnType<typeof generateOwnKey>, signer = domain.signer) =>
    issueToken(signer, podOf(name), {}, key.publicKey, now(), 3_600);
  let a: AuthorityIdentity | undefined;
  return {
    open: (name) => {
      const keeper = new AuthorityIdentity(generateOwnKey(), `shop/${name}`, () => {});
      if (name === 'a') a = keeper;
      const begin = async () => keeper.accept(await tokenOf(name, keeper.key), trust);
      return { keeper, begin, close: () => {} };
    },
    spoil: async () => a!.accept('rubbish', trust),
    mend: async () => a!.accept(await tokenOf('a', a!.key), trust),
    distrust: async () => a!.trustIn(JSON.parse(other.bundle) as object),
    stranger: async () => toCompact(await tokenOf('b', generateOwnKey(), other.signer)),
    remove: async () => {},
  };
});
