import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Authority } from '../../src/authority/authority.ts';
import { openSession, post } from '../../src/authority-client/transport.ts';
import { signRequest } from '../../src/authority-protocol/request-proof.ts';
import type { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import { toCompact } from '../../src/identity/compact.ts';
import { issueToken, type SigningKey } from '../../src/identity/issue.ts';
import { generateOwnKey, parseIssuerKey } from '../../src/identity/keys.ts';
import { formatEndpoint } from '../../src/lib/address.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { until } from '../support/until.ts';
import { samplePod } from '../identity/samples.ts';
import { NODE, rawNamespace, rawPod } from './cluster.ts';
import { Installation } from './installation.ts';

const [WEST, EAST] = ['west.example', 'east.example'];

interface Side {
  readonly api: FakeApiServer;
  readonly at: Installation;
  readonly authority: Authority;
  readonly file: string;
  /** What the authority signs with: whoever reads its Secret can do this. */
  signer(): Promise<SigningKey>;
}

async function side(t: Test, domain: string): Promise<Side> {
  const api = await new FakeApiServer().start();
  t.teardown(() => api.close());
  const put = (object: object): void => void api.put(object as unknown as FakeObject);
  for (const name of ['shop', 'bank', 'countersign-system']) put(rawNamespace(name));
  for (const namespace of ['shop', 'bank']) {
    put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name: 'default' } });
    put(rawPod(`${namespace}-web`, { namespace, address: namespace === 'shop' ? '10.1.0.2' : '10.1.0.3' }));
  }
  put(NODE);
  const client = api.client();
  t.teardown(() => client.close());
  const at = new Installation(t, client);
  const file = join(at.folder, 'federation.yaml');
  const authority = await at.authority({ domain, federationFile: file });
  const signer = async (): Promise<SigningKey> => {
    const secret = await client.get('/api/v1/namespaces/countersign-system/secrets/countersign-signing-keys');
    const [jwk = ''] = Object.values((secret as { data: Record<string, string> }).data);
    return parseIssuerKey(Buffer.from(jwk, 'base64').toString(), 'it');
  };
  return { api, at, authority, file, signer };
}

/** Both believe each other's `shop`. */
async function twoSides(t: Test, over: object = {}) {
  const [west, east] = [await side(t, WEST), await side(t, EAST)];
  const entry = (of: Side, domain: string, name: string) => ({
    trust_domain: domain,
    keys_url: `https://${formatEndpoint(of.authority.endpoint!)}/v1/jwks`,
    ca_file: of.at.caFile,
    refresh: 1,
    networks: ['203.0.113.0/24'],
    namespaces: [{ name: 'shop', as: `shop.${name}` }],
    local_namespaces: ['shop'],
    ...over,
  });
  const settings = { west: entry(east, EAST, 'east'), east: entry(west, WEST, 'west') };
  const write = (of: Side, ...entries: object[]): void =>
    writeFileSync(of.file, JSON.stringify({ federation: entries }));
  write(west, settings.west);
  write(east, settings.east);
  return { west, east, settings, write };
}

async function linkOf({ at, authority }: Side, namespace: string): Promise<AuthorityLink> {
  const pod = `${namespace}-web`;
  const link = at.link([authority], await at.tokenFile(pod, { namespace }), undefined, `${namespace}/${pod}`);
  await link.source.start();
  return link;
}

const keysOf = (link: AuthorityLink, domain: string): number =>
  link.identity.federation.get(domain)?.keys.size ?? 0;

t.test(
  'two authorities: sidecars hear of the other domain and believe its pods for what the mapping says',
  async (t) => {
    const { west, east, write, settings } = await twoSides(t);
    const [client, server] = [await linkOf(west, 'shop'), await linkOf(east, 'shop')];
    await until('both have heard', () => keysOf(client, EAST) === 1 && keysOf(server, WEST) === 1);
    const token = client.identity.credentials()!.token;
    t.match(server.identity.verify(token), {
      identity: { foreignDomain: WEST, namespace: 'shop.west', podUid: `${WEST}/uid-shop-web` },
    });
    t.match(client.identity.foreignOwner('203.0.113.9'), { kind: 'foreign', domain: EAST });
    t.strictSame(
      server.source.questions.peers.map(({ uid }) => uid),
      [],
      'the own authority is not asked about pods of the other one',
    );
    write(east);
    await until('the domain is out', () => 'refusal' in server.identity.verify(token));
    t.match(server.identity.verify(token), { refusal: { reason: 'foreign-domain' } });
    write(east, { ...settings.east, namespaces: [{ name: 'bank', as: 'bank.west' }] });
    await until('another mapping is there', () => keysOf(server, WEST) === 1);
    t.match(server.identity.verify(token), { refusal: { reason: 'foreign-domain' } });
  },
);

t.test(
  'two authorities: a sidecar hears of the domains that concern its namespace, and of no other',
  async (t) => {
    const { west } = await twoSides(t);
    const [shop, bank] = [await linkOf(west, 'shop'), await linkOf(west, 'bank')];
    await until('one has heard', () => keysOf(shop, EAST) === 1);
    t.strictSame([...bank.identity.federation.keys()], []);
  },
);

t.test('two authorities: whatever the other one signs, it is nobody here', async (t) => {
  const { west, east } = await twoSides(t);
  const server = await linkOf(east, 'shop');
  await until('it has heard', () => keysOf(server, WEST) === 1);
  const signer = await west.signer();
  const key = generateOwnKey().publicKey;
  const sign = async (trustDomain: string, namespace: string): Promise<Uint8Array> => {
    const pod = samplePod({ namespace, name: 'shop-web', uid: 'uid-shop-web' });
    return toCompact(
      await issueToken({ ...signer, trustDomain }, pod, { admin: 'yes' }, key, Date.now() / 1000, 3600),
    );
  };
  t.match(server.identity.verify(await sign(EAST, 'shop')), { refusal: { reason: 'token-untrusted' } });
  t.match(server.identity.verify(await sign(WEST, 'bank')), { refusal: { reason: 'foreign-domain' } });
  t.match(server.identity.verify(await sign('third.example', 'shop')), {
    refusal: { reason: 'foreign-domain' },
  });
  const mapped = server.identity.verify(await sign(WEST, 'shop'));
  t.strictSame('identity' in mapped && mapped.identity.namespaceLabels, {
    'kubernetes.io/metadata.name': 'shop.west',
  });
});

t.test('two authorities: an identity of the other domain opens nothing at this one', async (t) => {
  const { west, east } = await twoSides(t);
  const server = await linkOf(east, 'shop');
  await until('it has heard', () => keysOf(server, WEST) === 1);
  const key = generateOwnKey();
  const pod = samplePod({ name: 'shop-web', uid: 'uid-shop-web' });
  const jwt = await issueToken(await west.signer(), pod, {}, key.publicKey, Date.now() / 1000, 3600);
  const session = await openSession(
    `https://${formatEndpoint(east.authority.endpoint!)}`,
    east.authority.authorities,
  );
  t.teardown(() => session.destroy());
  const about = { method: 'POST', path: '/v1/stream', body: '', token: jwt };
  const proof = await signRequest(about, key, Date.now() / 1000, 'n'.repeat(20));
  const headers = { authorization: `Bearer ${jwt}`, 'countersign-proof': proof };
  t.match(await post(session, '/v1/stream', headers, ''), {
    status: 401,
    body: /identity-invalid.*foreign-domain/,
  });
});

t.test('two authorities: what one publishes are its own keys, never whom it believes', async (t) => {
  const { west } = await twoSides(t);
  const shop = await linkOf(west, 'shop');
  await until('it has heard', () => keysOf(shop, EAST) === 1);
  const session = await openSession(
    `https://${formatEndpoint(west.authority.endpoint!)}`,
    west.authority.authorities,
  );
  t.teardown(() => session.destroy());
  const stream = session.request({ ':path': '/v1/jwks' });
  let body = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) body += chunk.toString();
  const told = JSON.parse(body) as Record<string, unknown>;
  t.strictSame(Object.keys(told).toSorted(), ['authorities', 'keys', 'trust_domain']);
  t.equal(told['trust_domain'], WEST);
  t.equal(told['authorities'], west.authority.authorities);
});

t.test('two authorities: metrics tell keys, age and trouble of each domain', async (t) => {
  const { west } = await twoSides(t);
  await until('the keys are there', async () =>
    /federation_keys\{trust_domain="east\.example"\} 1/.test((await west.authority.metrics.text()).body),
  );
  const { body } = await west.authority.metrics.text();
  t.match(body, /countersign_authority_federation_problem\{trust_domain="east\.example"\} 0/);
  t.match(body, /countersign_authority_federation_age_seconds\{trust_domain="east\.example"\} \d/);
});
