import type { ServerHttp2Stream } from 'node:http2';
import { createSecureServer } from 'node:http2';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { AuthorityLink } from '../../src/authority-client/authority-link.ts';
import { openSession, post } from '../../src/authority-client/transport.ts';
import { signRequest } from '../../src/authority-protocol/request-proof.ts';
import { ServingCertificates } from '../../src/certificates/serving-certificates.ts';
import { issueToken } from '../../src/identity/issue.ts';
import type { OwnKey } from '../../src/identity/keys.ts';
import { formatEndpoint } from '../../src/lib/address.ts';
import { sampleDomain, samplePod } from '../identity/samples.ts';
import { FakeApiServer } from '../support/fake-api-server.ts';
import type { FakeObject } from '../support/fake-store.ts';
import { StoredObject } from '../support/shared-objects.ts';
import { until } from '../support/until.ts';
import { NODE, rawNamespace, rawPod, rawPolicy } from './cluster.ts';
import { Installation } from './installation.ts';

// What one release may rely on of its neighbour (docs/authority-api.md, "Versions"): members and types that are not known are passed over, members that are
// missing mean their default. So both neighbours are played here by hand, with the least and with more than this release knows.

async function world(t: Test): Promise<Installation> {
  const api = await new FakeApiServer().start();
  t.teardown(() => api.close());
  const put = (object: object): void => void api.put(object as unknown as FakeObject);
  for (const name of ['shop', 'countersign-system']) put(rawNamespace(name));
  put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: 'shop', name: 'default' } });
  put(NODE);
  put(rawPod('web', { address: '10.1.0.2', labels: { app: 'web' } }));
  put(rawPod('db', { address: '10.1.0.3', labels: { app: 'db' } }));
  put(rawPolicy('for-web', { app: 'web' }));
  const client = api.client();
  t.teardown(() => client.close());
  return new Installation(t, client);
}

/** A sidecar that says exactly these lines. @returns what the authority says */
async function stream(t: Test, at: Installation, lines: readonly string[]): Promise<() => object[]> {
  const authority = await at.authority();
  const link = await at.startedLink([authority], 'web');
  const token = link.identity.jwt!;
  const key: OwnKey = link.identity.key;
  await link.source.close();
  const session = await openSession(`https://${formatEndpoint(authority.endpoint!)}`, authority.authorities);
  t.teardown(() => session.destroy());
  const about = { method: 'POST', path: '/v1/stream', body: '', token };
  const proof = await signRequest(about, key, Date.now() / 1000, crypto.randomUUID());
  const headers = { authorization: `Bearer ${token}`, 'countersign-proof': proof };
  const opened = session.request(
    { ':method': 'POST', ':path': '/v1/stream', ...headers },
    { endStream: false },
  );
  let said = '';
  opened.on('data', (chunk: Buffer) => (said += chunk.toString()));
  opened.on('error', () => {});
  for (const line of lines) opened.write(`${line}\n`);
  return () =>
    said
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as object);
}

t.test('version skew: a sidecar that says the least, and one that says more, are served alike', async (t) => {
  const at = await world(t);
  for (const [what, lines] of [
    ['the least', ['{"type":"hello","version":1}', '{"type":"ask","addresses":["10.1.0.3"]}']],
    [
      'more than is known here',
      [
        '{"type":"hello","version":2,"release":"9.9.9","wishes":["weather"]}',
        '{"type":"weather","of":"tomorrow"}',
        '{"type":"ask","addresses":["10.1.0.3"],"peers":[],"drop":[],"weather":true}',
      ],
    ],
  ] as const) {
    const said = await stream(t, at, lines);
    await until(`${what}: the answer is there`, () =>
      JSON.stringify(said()).includes('"answered":["10.1.0.3"]'),
    );
    t.match(said()[0], { type: 'hello', version: 1 }, what);
    t.match(JSON.stringify(said()), /for-web/, what);
  }
});

t.test(
  'version skew: a sidecar of another version of the interface is told which is spoken here',
  async (t) => {
    const at = await world(t);
    const authority = await at.authority();
    const session = await openSession(
      `https://${formatEndpoint(authority.endpoint!)}`,
      authority.authorities,
    );
    t.teardown(() => session.destroy());
    for (const path of ['/v2/identity', '/v2/stream', '/v0/stream']) {
      const version = path[2]!;
      const answer = await post(session, path, {}, '{}');
      t.equal(answer.status, 404, path);
      t.match(
        answer.body,
        new RegExp(`speaks version 1, and was asked for version ${version}: upgrade the older`),
        path,
      );
    }
    t.match((await post(session, '/v1/weather', {}, '{}')).body, /there is no such path/);
  },
);

/** An authority of another release: its answers are in the test's hands. */
async function neighbour(
  t: Test,
  at: Installation,
  answers: {
    identity: (stream: ServerHttp2Stream, key: OwnKey) => Promise<void> | void;
    stream: (stream: ServerHttp2Stream) => void;
  },
): Promise<AuthorityLink> {
  const serving = new ServingCertificates({ object: new StoredObject().handle(), names: ['127.0.0.1'] });
  t.teardown(() => serving.close());
  await serving.start();
  const { certificate: cert, key } = serving.serving;
  const server = createSecureServer({ cert, key });
  const caFile = join(at.folder, `neighbour-${Math.random()}.pem`);
  writeFileSync(caFile, serving.bundle);
  server.on('stream', (opened, headers) => {
    opened.on('error', () => {});
    opened.resume();
    if (headers[':path'] === '/v1/identity') void answers.identity(opened, link.identity.key);
    else answers.stream(opened);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const tokenFile = join(at.folder, 'any-token');
  writeFileSync(tokenFile, 'any');
  const link = new AuthorityLink({
    urls: [`https://127.0.0.1:${port}`],
    caFile,
    tokenFile,
    pod: 'shop/web',
    mode: 'enforce',
    release: 'test',
    random: () => 0,
  });
  t.teardown(async () => {
    await link.source.close();
    server.close();
  });
  return link;
}

const WEB = samplePod({ namespace: 'shop', name: 'web', uid: 'uid-web', serviceAccount: 'default' });

t.test(
  'version skew: an authority that says the least, and one that says more, are understood',
  async (t) => {
    const at = await world(t);
    const domain = sampleDomain();
    const trust = JSON.parse(domain.bundle) as object;
    const objects = [
      rawNamespace('shop'),
      NODE,
      rawPod('web', { address: '10.1.0.2' }),
      rawPolicy('isolates', {}),
    ];
    const networks = { pods: ['10.1.0.0/24'], services: [] };
    const least = [{ type: 'state', reset: true, self: 'shop/web', set: objects, networks }];
    const more = [
      { type: 'hello', version: 2, release: '9.9.9', wishes: [] },
      { type: 'weather', of: 'tomorrow' },
      {
        ...least[0],
        weather: 'fine',
        set: [...objects, { apiVersion: 'weather/v1', kind: 'Weather', metadata: { name: 'w' } }],
        marks: [{ uid: 'uid-db', not_before: 1, reason: 'weather' }],
        trust: { ...trust, weather: 'fine' },
      },
      { type: 'alive', at: Date.now(), view: Date.now(), weather: 'fine' },
    ];
    for (const [what, lines, extra] of [
      ['the least', least, {}],
      ['more than is known here', more, { weather: 'fine', renew_after: 600 }],
    ] as const) {
      const link = await neighbour(t, at, {
        identity: async (stream, key) => {
          const token = await issueToken(domain.signer, WEB, {}, key.publicKey, Date.now() / 1000, 3_600);
          stream.respond({ ':status': 201 });
          stream.end(JSON.stringify({ token, trust, ...extra }));
        },
        stream: (stream) => {
          stream.respond({ ':status': 200 });
          for (const line of lines) stream.write(`${JSON.stringify(line)}\n`);
        },
      });
      await link.source.start();
      t.strictSame(
        link.source.snapshot?.policies.map(({ name }) => name),
        ['isolates'],
        what,
      );
      t.ok(link.identity.credentials(), what);
    }
  },
);

t.test(
  'version skew: an authority of another version of the interface is told of with its own words, and nothing is taken',
  async (t) => {
    const at = await world(t);
    const link = await neighbour(t, at, {
      identity: (stream) => {
        stream.respond({ ':status': 404 });
        stream.end(
          JSON.stringify({ error: 'malformed', detail: 'this authority speaks version 2: upgrade' }),
        );
      },
      stream: (stream) => stream.close(),
    });
    void link.source.start();
    await until('it is told', () => /speaks version 2: upgrade/.test(link.identity.problem ?? ''));
    t.equal(link.identity.credentials(), undefined);
    t.equal(link.source.snapshot, undefined);
  },
);
