import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { FakeObject } from '../support/fake-store.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import { until } from '../support/until.ts';
import { NODE, rawNamespace, rawPod, rawPolicy } from './cluster.ts';
import { TokenVerifier } from '../../src/identity/verify.ts';
import { toCompact } from '../../src/identity/compact.ts';
import { parseTrustBundle } from '../../src/identity/trust.ts';
import { openSession, post } from '../../src/authority-client/transport.ts';
import { signRequest } from '../../src/authority-protocol/request-proof.ts';
import { generateOwnKey } from '../../src/identity/keys.ts';
import type { Authority } from '../../src/authority/authority.ts';
import type { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { TrustAnchors } from '../../src/authority-client/transport.ts';
import { ServingCertificates } from '../../src/certificates/serving-certificates.ts';
import { StoredObject } from '../support/shared-objects.ts';
import { formatEndpoint } from '../../src/lib/address.ts';
import { Installation } from './installation.ts';

async function world(t: Test): Promise<{ api: FakeApiServer; at: Installation }> {
  const api = await new FakeApiServer().start();
  t.teardown(() => api.close());
  const put = (object: object): void => void api.put(object as unknown as FakeObject);
  for (const name of ['shop', 'countersign-system']) put(rawNamespace(name, { team: name }));
  put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'shop', name: 'default' } });
  put(NODE);
  put(rawPod('web', { address: '10.1.0.2', labels: { app: 'web' } }));
  put(rawPod('db', { address: '10.1.0.3', labels: { app: 'db' } }));
  put(rawPolicy('for-web', { app: 'web' }));
  const client = api.client();
  t.teardown(() => client.close());
  return { api, at: new Installation(t, client) };
}

t.test('authority: a sidecar gets the identity of its pod as the API has it, and its slice', async (t) => {
  const { at } = await world(t);
  const authority = await at.authority();
  const link = await at.startedLink([authority], 'web');
  t.match(link.identity.state?.own, {
    trustDomain: 'cluster.local',
    namespace: 'shop',
    podName: 'web',
    podUid: 'uid-web',
    labels: { app: 'web' },
    namespaceLabels: { team: 'shop' },
  });
  t.strictSame(
    link.source.snapshot?.policies.map(({ name }) => name),
    ['for-web'],
  );
  t.strictSame(
    [...link.source.snapshot!.directory.pods()].map(({ name }) => name),
    ['web'],
  );
});

t.test('authority: an address is unknown, asked about, and then known', async (t) => {
  const { at } = await world(t);
  const link = await at.startedLink([await at.authority()], 'web');
  const owner = (address: string) => link.source.snapshot!.directory.owner(address);
  t.equal(owner('10.1.0.3').kind, 'unknown');
  t.equal(owner('198.51.100.7').kind, 'unknown');
  await until(
    'both are answered',
    () => owner('10.1.0.3').kind === 'pod' && owner('198.51.100.7').kind === 'external',
  );
  t.match(owner('10.1.0.3'), { pod: { name: 'db', labels: { app: 'db' } } });
});

/** One sidecar proves itself to another: both ends of what a handshake does with tokens. */
function showsTo(verifier: AuthorityLink, shower: AuthorityLink) {
  return verifier.identity.verify(toCompact(shower.identity.jwt!));
}

t.test(
  "authority: labels that change reach the pod's identity and everybody who knows the pod",
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    const [web, db] = [await at.startedLink([authority], 'web'), await at.startedLink([authority], 'db')];
    t.match(showsTo(db, web), { identity: { labels: { app: 'web' } } });
    const known = () => db.source.snapshot!.directory.pod('shop', 'web');
    await until('the peer is known by its proof', () => known() !== undefined);
    api.put(rawPod('web', { address: '10.1.0.2', labels: { app: 'evil' } }) as unknown as FakeObject);
    await until('the peer has the new labels', () => known()?.labels['app'] === 'evil');
    await until('the identity has them', () => web.identity.state?.own.labels['app'] === 'evil');
    t.match(showsTo(db, web), { identity: { labels: { app: 'evil' } } });
    api.put(rawNamespace('shop', { team: 'other' }) as unknown as FakeObject);
    await until('the namespace has, too', () => web.identity.state?.own.namespaceLabels['team'] === 'other');
  },
);

t.test(
  'authority: the identity of a deleted pod is dead for everybody who knows it, and is given to nobody',
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    const [web, db] = [await at.startedLink([authority], 'web'), await at.startedLink([authority], 'db')];
    const shown = showsTo(db, web);
    if (!('identity' in shown)) throw new Error('not believed');
    await until('the peer is known', () => db.source.snapshot!.directory.pod('shop', 'web') !== undefined);
    t.ok(db.identity.stillHolds(shown.identity));
    const token = await at.tokenFile('web');
    api.remove(rawPod('web') as unknown as FakeObject);
    await until('the mark is there', () => !db.identity.stillHolds(shown.identity), 20_000);
    t.match(showsTo(db, web), { refusal: { reason: 'token-expired' } });
    const late = at.link([authority], token);
    void late.source.start();
    await until('it is refused', () => /token-invalid/.test(late.identity.problem ?? ''));
    t.equal(late.identity.jwt, undefined);
    await until('its stream ended', () => web.source.problems.length > 0);
  },
);

t.test(
  'authority: a second key for a pod kills the first, and is told as metric, log and Event',
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    const [web, db] = [await at.startedLink([authority], 'web'), await at.startedLink([authority], 'db')];
    const first = showsTo(db, web);
    if (!('identity' in first)) throw new Error('not believed');
    await until('the peer is known', () => db.source.snapshot!.directory.pod('shop', 'web') !== undefined);
    await web.source.close();
    const thief = await at.startedLink([authority], 'web');
    await until('the first is dead', () => !db.identity.stillHolds(first.identity), 20_000);
    t.match(showsTo(db, web), { refusal: { reason: 'token-expired' } });
    t.match(
      showsTo(db, thief),
      { identity: { podName: 'web' } },
      'nobody can tell which of the two is the thief',
    );
    t.match((await authority.metrics.text()).body, /second_keys_total\{cause="unexplained"\} 1/);
    t.ok(at.told.some(({ level, message }) => level === 'warn' && /Another key/.test(message)));
    await until('there is an Event', async () => {
      const { items } = (await api.client().get('/api/v1/namespaces/shop/events')) as { items: object[] };
      return items.some((one) => (one as { reason?: string }).reason === 'SecondIdentityKey');
    });
  },
);

t.test('authority: a sidecar that was restarted gets its identity without an alert', async (t) => {
  const { api, at } = await world(t);
  const authority = await at.authority();
  const web = await at.startedLink([authority], 'web');
  await web.source.close();
  api.put(
    rawPod('web', { address: '10.1.0.2', labels: { app: 'web' }, restarts: 1 }) as unknown as FakeObject,
  );
  await at.startedLink([authority], 'web');
  t.match((await authority.metrics.text()).body, /second_keys_total\{cause="restart"\} 1/);
  t.notOk(at.told.some(({ level }) => level === 'warn'));
});

t.test(
  'authority: a sidecar that kept its key over a restart is who it was: nothing that it had proven ends',
  async (t) => {
    const { at } = await world(t);
    const authority = await at.authority();
    const keyFile = join(t.testdir({}), 'key');
    const web = await at.startedLink([authority], 'web', keyFile);
    const db = await at.startedLink([authority], 'db');
    const first = showsTo(db, web);
    if (!('identity' in first)) throw new Error('not believed');
    await until('the peer is known', () => db.source.snapshot!.directory.pod('shop', 'web') !== undefined);
    await web.source.close();
    const again = await at.startedLink([authority], 'web', keyFile);
    t.match(showsTo(db, again), { identity: { podName: 'web' } });
    t.strictSame(again.identity.key.publicKey, web.identity.key.publicKey);
    t.notMatch((await authority.metrics.text()).body, /second_keys_total\{.*\} [1-9]/);
    t.ok(db.identity.stillHolds(first.identity), 'no mark has come with the answer');
  },
);

t.test(
  'authority: a token for another audience, or of a pod without our sidecar, gets nothing',
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    api.put(rawPod('plain', { enrolled: false }) as unknown as FakeObject);
    for (const [what, file, problem] of [
      ['another audience', await at.tokenFile('web', { audience: 'vault' }), /token-invalid/],
      ['no sidecar', await at.tokenFile('plain'), /no-sidecar/],
    ] as const) {
      const link = at.link([authority], file);
      void link.source.start();
      await until(`${what} is refused`, () => problem.test(link.identity.problem ?? ''));
      t.equal(link.identity.jwt, undefined, what);
      t.equal(link.source.snapshot, undefined, what);
    }
  },
);

t.test(
  'authority: a sidecar that holds the token of another pod takes neither its identity nor its policy, and says so',
  async (t) => {
    const { at } = await world(t);
    const authority = await at.authority();
    const link = at.link([authority], await at.tokenFile('db'));
    void link.source.start();
    await until('it is refused', () => link.identity.problem?.includes('--pod says shop/web') === true);
    t.match(link.identity.problem, /names the pod shop\/db, .*mount the service-account token of shop\/web/);
    t.equal(link.identity.credentials(), undefined);
    t.equal(link.identity.jwt, undefined);
    t.equal(link.source.snapshot, undefined);
  },
);

t.test(
  'authority: replicas are killed in turn, and a sidecar hears of every change all the same',
  async (t) => {
    const { api, at } = await world(t);
    let [one, two] = [await at.authority(), await at.authority()];
    const link = at.link([one, two], await at.tokenFile('web'));
    await link.source.start();
    const names = () => link.source.snapshot!.policies.map(({ name }) => name);
    const ports = [one.endpoint!.port, two.endpoint!.port];
    const key = link.identity.state?.own.issuerKeyId;
    for (let round = 0; round < 4; round++) {
      if (round % 2 === 0) await one.close();
      else await two.close();
      api.put(rawPolicy(`round-${round}`, { app: 'web' }) as unknown as FakeObject);
      await until(`round ${round} is known`, () => names().includes(`round-${round}`));
      t.ok(link.identity.jwt, 'the identity is good all the time');
      if (round % 2 === 0) one = await at.authority({ port: ports[0]! });
      else two = await at.authority({ port: ports[1]! });
    }
    t.equal(link.identity.state?.own.issuerKeyId, key, 'replicas sign with the same key');
    t.strictSame(link.source.problems, []);
  },
);

t.test(
  'authority: a replica that ends sends its sidecars away before, without a moment of trouble',
  async (t) => {
    const { api, at } = await world(t);
    const [one, two] = [await at.authority(), await at.authority()];
    const link = at.link([one, two], await at.tokenFile('web'));
    await link.source.start();
    const troubles: string[] = [];
    link.source.subscribe(() => troubles.push(...link.source.problems.map(({ reason }) => reason)));
    const streams = async (authority: Authority) =>
      Number(/authority_streams (\d+)/.exec((await authority.metrics.text()).body)?.[1]);
    const [first, other] = (await streams(one)) === 1 ? [one, two] : [two, one];
    first.drain();
    await until('it is at the other', async () => (await streams(other)) === 1);
    await first.close();
    api.put(rawPolicy('after', { app: 'web' }) as unknown as FakeObject);
    await until('it hears', () => link.source.snapshot!.policies.some(({ name }) => name === 'after'));
    t.strictSame(troubles, []);
  },
);

t.test(
  'authority: when there is none, what is known stays, and what is not known inside the cluster is refused',
  async (t) => {
    const { at } = await world(t);
    const authority = await at.authority();
    const link = await at.startedLink([authority], 'web');
    const owner = (address: string) => link.source.snapshot!.directory.owner(address).kind;
    owner('10.1.0.3');
    await until('db is known', () => owner('10.1.0.3') === 'pod');
    const before = link.source.snapshot;
    await authority.close();
    await until('it is told', () => link.source.problems.length > 0);
    t.match(link.source.problems[0]?.reason, /the last state stays in force/);
    t.equal(link.source.snapshot, before);
    t.equal(owner('10.1.0.3'), 'pod');
    t.equal(owner('10.1.0.77'), 'unknown');
    t.equal(owner('198.51.100.9'), 'external', 'an address outside needs nobody');
    t.ok(link.identity.credentials());
  },
);

t.test(
  'authority: a sidecar that comes while its authority has not read the cluster hears so, and is served as soon as it has',
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    const link = await at.startedLink([authority], 'web');
    const { port } = authority.endpoint!;
    await authority.close();
    await until('the loss is told', () => link.source.problems.length > 0);
    const noPods = api.faults.add(
      { kind: 'status', status: 500 },
      ({ path }) => path.endsWith('/pods'),
      10_000,
    );
    await at.authority({ port });
    await until('the refusal is heard', () =>
      link.source.problems.some(({ reason }) => reason.includes('the cluster has not been read yet')),
    );
    noPods();
    await until('all is well', () => link.source.problems.length === 0);
  },
);

t.test('authority: what a stolen token, a stolen identity or a repeated proof opens: nothing', async (t) => {
  const { at } = await world(t);
  const authority = await at.authority();
  const link = await at.startedLink([authority], 'web');
  const session = await openSession(`https://${formatEndpoint(authority.endpoint!)}`, authority.authorities);
  t.teardown(() => session.destroy());
  const thief = generateOwnKey();
  const now = Date.now() / 1000;
  const send = async (path: string, token: string, key = thief, proof?: string, body = '') => {
    const made = await signRequest({ method: 'POST', path, body, token }, key, now, crypto.randomUUID());
    const headers = { authorization: `Bearer ${token}`, 'countersign-proof': proof ?? made };
    return post(session, path, headers, body);
  };
  const jwt = link.identity.jwt!;
  t.match(await send('/v1/stream', jwt), { status: 401, body: /another key than the proof/ });
  t.match(await send('/v1/stream', jwt, thief, 'x'), { status: 401, body: /proof-invalid/ });
  t.match(await send('/v1/stream', 'not.a.jwt'), { status: 401, body: /identity-invalid/ });
  t.match(await send('/v1/identity', jwt), { status: 401, body: /token-invalid/ }, 'an identity is no token');

  const token = readFileSync(await at.tokenFile('db'), 'utf8');
  const about = { method: 'POST', path: '/v1/identity', body: '{}', token };
  const proof = await signRequest(about, thief, now, crypto.randomUUID());
  t.match(await send('/v1/identity', token, thief, proof, '{}'), { status: 201 });
  t.match(await send('/v1/identity', token, thief, proof, '{}'), { status: 401, body: /used before/ });
  t.match(await send('/v1/identity', token, thief, undefined, 'x'.repeat(9_000)), { status: 400 });
  t.match(await post(session, '/v1/weather', {}, ''), { status: 404 });
  for (let more = 0; more < 12; more++) await send('/v1/identity', token);
  t.match(await send('/v1/identity', token), { status: 429, body: /too-many-requests/ });
});

t.test('authority: a token and an identity of another domain open nothing', async (t) => {
  const { at } = await world(t);
  const authority = await at.authority();
  const { at: otherAt } = await world(t);
  const other = await otherAt.authority({ domain: 'evil.local' });
  const foreigner = await otherAt.startedLink([other], 'web');
  // The token of a pod of the same name and uid, which another cluster signed.
  const link = at.link([authority], await otherAt.tokenFile('web'));
  void link.source.start();
  await until('it is refused', () => /token-invalid/.test(link.identity.problem ?? ''));
  t.equal(link.identity.jwt, undefined);
  // The identity that the other domain's authority gave, with its right key.
  const session = await openSession(`https://${formatEndpoint(authority.endpoint!)}`, authority.authorities);
  t.teardown(() => session.destroy());
  const token = foreigner.identity.jwt!;
  const about = { method: 'POST', path: '/v1/stream', body: '', token };
  const proof = await signRequest(about, foreigner.identity.key, Date.now() / 1000, crypto.randomUUID());
  const answer = await post(
    session,
    '/v1/stream',
    { authorization: `Bearer ${token}`, 'countersign-proof': proof },
    '',
  );
  t.match(answer, { status: 401, body: /identity-invalid.*foreign-domain/ });
});

t.test('authority: a server that the bundle does not name is not given the token', async (t) => {
  const { at } = await world(t);
  const real = await at.authority();
  const { api: otherApi, at: otherAt } = await world(t);
  const impostor = await otherAt.authority({ domain: 'evil.local' });
  t.ok(real.endpoint);
  const link = new (await import('../../src/authority-client/authority-link.ts')).AuthorityLink({
    urls: [`https://${formatEndpoint(impostor.endpoint!)}`],
    caFile: at.caFile,
    tokenFile: await at.tokenFile('web'),
    pod: 'shop/web',
    mode: 'enforce',
    release: 'test',
  });
  t.teardown(() => link.source.close());
  void link.source.start();
  await until(
    'it is told',
    () => /self.signed|unable to|certificate/i.test(link.identity.problem ?? ''),
    20_000,
  );
  t.notOk(otherApi.requests.some((one) => one.includes('tokenreviews')));
});

t.test('authority: its public keys verify what it signs', async (t) => {
  const { at } = await world(t);
  const authority = await at.authority();
  const link = await at.startedLink([authority], 'web');
  const session = await openSession(`https://${formatEndpoint(authority.endpoint!)}`, authority.authorities);
  t.teardown(() => session.destroy());
  const stream = session.request({ ':path': '/v1/jwks' });
  let body = '';
  for await (const chunk of stream as AsyncIterable<Buffer>) body += chunk.toString();
  const verifier = new TokenVerifier(parseTrustBundle(body, 'jwks'));
  t.match(verifier.verify(toCompact(link.identity.jwt!), Date.now() / 1000), {
    identity: { podUid: 'uid-web' },
  });
});

t.test(
  'authority: its certificates stand in a ConfigMap of its own namespace, and in no other; the injector brings them to pods',
  async (t) => {
    const { api, at } = await world(t);
    const authority = await at.authority();
    const read = (namespace: string) =>
      api.client().get(`/api/v1/namespaces/${namespace}/configmaps/countersign-ca`);
    await until('they are published', () =>
      read('countersign-system').then(
        () => true,
        () => false,
      ),
    );
    t.match(await read('countersign-system'), { data: { 'ca.pem': authority.authorities } });
    t.equal(await read('shop').catch((error: { status?: number }) => error.status), 404);
  },
);

t.test(
  'authority: with all authorities dead, a clock three hours on refuses nobody, and five hours on everybody, with the reason',
  async (t) => {
    const { at } = await world(t);
    const authority = await at.authority();
    const [web, db] = [await at.startedLink([authority], 'web'), await at.startedLink([authority], 'db')];
    const shown = toCompact(web.identity.jwt!);
    await authority.close();
    const clock = Date.now;
    t.teardown(() => (Date.now = clock));
    const hours = (count: number): void => {
      Date.now = () => clock() + count * 3_600_000;
    };
    hours(3);
    t.match(db.identity.verify(shown), { identity: { podName: 'web' } });
    t.ok(web.identity.credentials(), 'and it still shows its own');
    t.ok(db.source.snapshot, 'policy is the last one');
    hours(5);
    t.match(db.identity.verify(shown), { refusal: { reason: 'token-expired' } });
    t.equal(
      web.identity.credentials(),
      undefined,
      'it shows nothing, so its calls end as identity-unavailable',
    );
  },
);

t.test(
  'authority: a sidecar believes it through two rotations of its certificates without a restart',
  async (t) => {
    const { at } = await world(t);
    const clock = { now: Math.floor(Date.now() / 1000) };
    const stored = new StoredObject();
    const certificates = new ServingCertificates({
      object: stored.handle(),
      names: ['localhost'],
      now: () => clock.now,
    });
    t.teardown(() => certificates.close());
    await certificates.start();
    const file = `${at.folder}/first.pem`;
    writeFileSync(file, certificates.bundle);
    const anchors = new TrustAnchors(file);
    const first = certificates.bundle;
    const issuers = new Set<string>();
    // The file stays as it was on the first day; what connected sidecars were told carries them over.
    for (let day = 0; day <= 2 * 92 + 2; day++) {
      clock.now += 86_400;
      await certificates.look();
      const leaf = new X509Certificate(certificates.serving.certificate);
      issuers.add(leaf.issuer);
      const believed = (await anchors.bundle())
        .split(/(?<=-----END CERTIFICATE-----)/)
        .filter((pem) => pem.includes('BEGIN'))
        .some((pem) => leaf.verify(new X509Certificate(pem).publicKey));
      if (!believed) t.fail(`day ${day}: not believed any more`);
      anchors.tell(certificates.bundle);
    }
    t.equal(issuers.size, 3, 'there were two rotations');
    t.notOk(certificates.bundle.includes(first.trim()), 'and nothing of the first day is left');
    const away = new TrustAnchors(file);
    t.equal((await away.bundle()).trim(), first.trim());
    writeFileSync(file, certificates.bundle);
    t.match(
      await away.bundle(),
      certificates.bundle,
      'who was away all the time believes by the file that followed',
    );
  },
);
