import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { FederationCache } from '../../src/authority/federation-cache.ts';
import { entryOf, keysIn, validUntilOf } from '../../src/authority/federation-entries.ts';
import { FederationKeeper, type FederationKeeperOptions } from '../../src/authority/federation-keeper.ts';
import { parseFederationSettings } from '../../src/authority/federation-settings.ts';
import {
  type CertifiedKey,
  issueServingCertificate,
  makeCertificateAuthority,
} from '../../src/certificates/certificate-authority.ts';
import { sampleDomain } from '../identity/samples.ts';
import { StoredObject } from '../support/shared-objects.ts';
import { until } from '../support/until.ts';

const EAST = 'east.example';
const shop = [{ name: 'shop', as: 'shop.east' }];
const yaml = (entry: object): string => JSON.stringify({ federation: [entry] });

t.test('federation settings: what is there is read, from YAML as from JSON', (t) => {
  const text = `
federation:
- trust_domain: east.example
  keys_url: https://authority.east.example:14443/v1/jwks
  ca_file: east.pem
  networks: [203.0.113.0/24]
  local_namespaces: [shop]
  namespaces:
  - {name: shop, as: shop.east, labels: {side: east}}
`;
  const [setting] = parseFederationSettings(text, 'federation.yaml', 'west.example');
  t.match(setting, {
    trustDomain: EAST,
    source: { kind: 'url', caFile: 'east.pem', refresh: 300, ttl: 86_400, serverName: undefined },
  });
  t.strictSame(setting!.localNamespaces, new Set(['shop']));
  t.strictSame(Object.keys(setting!.entry), ['trust_domain', 'networks', 'local_namespaces', 'namespaces']);
  for (const empty of ['', '{}', 'federation: []', '# nothing']) {
    t.strictSame(parseFederationSettings(empty, 'federation.yaml', 'west.example'), []);
  }
  t.end();
});

t.test('federation settings: what is wrong is told with file, field and remedy', (t) => {
  const good = {
    trust_domain: EAST,
    keys_url: 'https://a.example/v1/jwks',
    ca_file: 'ca.pem',
    namespaces: shop,
  };
  const cases: [string, string, RegExp][] = [
    ['no YAML', '{', /^federation\.yaml: /],
    ['no object', '- a', /has to hold 'federation'/],
    ['another member', '{"federations": []}', /federations is not known: is it misspelt/],
    ['no list', '{"federation": {}}', /federation has to be a list/],
    ['no entry', '{"federation": [1]}', /federation\[0\] has to be an object/],
    [
      'no source',
      yaml({ ...good, keys_url: undefined, ca_file: undefined }),
      /has to have one of keys, keys_file, keys_url; it has none/,
    ],
    ['two sources', yaml({ ...good, keys_file: 'x' }), /it has keys_file and keys_url/],
    [
      'a stray member',
      yaml({ trust_domain: EAST, keys_file: 'x', ca_file: 'y', namespaces: shop }),
      /ca_file belongs to keys_url/,
    ],
    ['no HTTPS', yaml({ ...good, keys_url: 'http://a.example' }), /keys_url has to be like https:/],
    ['a password', yaml({ ...good, keys_url: 'https://u:p@a.example' }), /keys_url has to be like/],
    [
      'no authority',
      yaml({ ...good, ca_file: undefined }),
      /ca_file is missing: name the PEM file of who vouches for a\.example/,
    ],
    ['no file', yaml({ ...good, ca_file: '' }), /ca_file has to be the name of a file/],
    ['no name', yaml({ ...good, server_name: 'a b' }), /server_name has to be/],
    [
      'too short a life',
      yaml({ ...good, keys_ttl: 5 }),
      /keys_ttl has to be a whole number of seconds from 60/,
    ],
    [
      'too rare a look',
      yaml({ ...good, keys_ttl: 400, refresh: 200 }),
      /refresh has to be a whole number of seconds from 1 to 100/,
    ],
    ['an end', yaml({ ...good, valid_until: 5 }), /valid_until is what keys_ttl makes/],
    [
      'the own domain',
      yaml({ ...good, trust_domain: 'west.example' }),
      /federation\[0\]\.trust_domain is west\.example, the own one/,
    ],
    [
      'a name without a dot',
      yaml({ ...good, namespaces: [{ name: 'shop', as: 'shop' }] }),
      /namespaces\[0\]\.as has to be a name with a dot/,
    ],
    ['a misspelt member', yaml({ ...good, network: [] }), /federation\[0\]\.network is not known/],
    [
      'a private key',
      yaml({ trust_domain: EAST, keys: [JSON.parse(sampleDomain().issuer)], namespaces: shop }),
      /keys\[0\] holds a private key/,
    ],
  ];
  for (const [name, text, expected] of cases) {
    const read = (): unknown => parseFederationSettings(text, 'federation.yaml', 'west.example');
    t.throws(read, { message: expected }, name);
    t.throws(read, { message: /^federation\.yaml: / }, name);
  }
  t.end();
});

t.test('federation settings: no text makes the reader throw anything but a sentence', (t) => {
  const words = fc.constantFrom(
    'federation',
    'keys',
    'trust_domain',
    ': ',
    '- ',
    '\n',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a',
    '"',
    '1e999',
    '\u0000',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 30 }), (parts) => {
      try {
        parseFederationSettings(parts.join(''), 'f', 'west.example');
      } catch (error) {
        return (error as Error).name === 'UserError' || (error as Error).message.startsWith('f: ');
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test(
  'federation entries: keys are believed between half a life and a whole one, and told anew that seldom',
  (t) => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4e9 }), fc.integer({ min: 60, max: 2_592_000 }), (at, ttl) => {
        const end = validUntilOf(at, ttl);
        return end <= at + ttl && end > at + ttl / 2 - 1 && end % Math.floor(ttl / 2) === 0;
      }),
    );
    t.end();
  },
);

t.test('federation entries: past their end nobody is believed, and the networks stay', (t) => {
  const east = sampleDomain(EAST);
  const text = yaml({
    trust_domain: EAST,
    keys_url: 'https://a.example/',
    ca_file: 'x',
    keys_ttl: 100,
    networks: ['203.0.113.0/24'],
    namespaces: shop,
  });
  const [setting] = parseFederationSettings(text, 'f', 'west.example');
  const told = { keys: [east.publicJwk], at: 1_000 };
  t.match(entryOf(setting!, told, 1_099), { keys: [{ kty: 'EC' }], valid_until: 1_100 });
  t.match(entryOf(setting!, told, 1_100), { keys: [], networks: ['203.0.113.0/24'] });
  t.match(entryOf(setting!, undefined, 0), { keys: [], networks: ['203.0.113.0/24'] });
  t.end();
});

t.test('federation entries: of what a server tells the keys of the domain count, and nothing else', (t) => {
  const east = sampleDomain(EAST);
  const more = { ...(JSON.parse(east.bundle) as object), federation: [{ trust_domain: 'third.example' }] };
  t.strictSame(
    keysIn(JSON.stringify(more), 'it', EAST).map((key) => Object.keys(key)),
    [['kty', 'crv', 'x', 'y']],
  );
  t.throws(() => keysIn(sampleDomain('evil.example').bundle, 'it', EAST), {
    message: 'it: trust_domain is evil.example, asked was for east.example',
  });
  t.throws(() => keysIn(east.issuer, 'it', EAST), { message: /keys has to be a list/ });
  t.end();
});

/** A server of trust bundles that does what a test says. */
async function bundleServer(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'countersign-federation-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const now = Date.now() / 1000;
  const authority = () => makeCertificateAuthority('test', now);
  const serve = (by: CertifiedKey) =>
    issueServingCertificate(by, { names: ['localhost'], now, lifetime: 3600 });
  const ca = await authority();
  const { certificate, key } = await serve(ca);
  const state = { body: '', status: 200, asked: 0 };
  const server = createSecureServer({ cert: certificate, key, allowHTTP1: false }, (_request, response) => {
    state.asked++;
    response.writeHead(state.status, { location: '/elsewhere' });
    response.end(state.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = (): Promise<void> => new Promise((resolve) => void server.close(() => resolve()));
  let stopped = false;
  t.teardown(async () => {
    if (!stopped) await stop();
  });
  writeFileSync(join(folder, 'ca.pem'), ca.certificate);
  const url = `https://localhost:${(server.address() as AddressInfo).port}/v1/jwks`;
  const settings = (over: object = {}): string =>
    yaml({ trust_domain: EAST, keys_url: url, ca_file: 'ca.pem', refresh: 1, namespaces: shop, ...over });
  const file = join(folder, 'federation.yaml');
  const write = (text: string): void => writeFileSync(file, text);
  const problems: string[] = [];
  let changes = 0;
  const keeper = async (over: Partial<FederationKeeperOptions> = {}): Promise<FederationKeeper> => {
    const made = new FederationKeeper({
      file,
      trustDomain: 'west.example',
      onProblem: (problem) => problems.push(problem),
      onChange: () => void changes++,
      ...over,
    });
    t.teardown(() => made.close());
    await made.start();
    return made;
  };
  const halt = async (): Promise<void> => {
    stopped = true;
    await stop();
  };
  /** Another certificate, of another authority. */
  const rotate = async (next: CertifiedKey): Promise<void> => {
    const served = await serve(next);
    server.setSecureContext({ cert: served.certificate, key: served.key });
  };
  return {
    folder,
    rotate,
    state,
    settings,
    write,
    problems,
    keeper,
    halt,
    changes: () => changes,
    rm: () => rmSync(file),
  };
}

const keysOf = (keeper: FederationKeeper, namespace = 'shop'): number | undefined =>
  (keeper.entries(namespace)[0] as { keys: unknown[] } | undefined)?.keys.length;

t.test('federation keeper: keys come from the server, new ones soon, and stay when it goes', async (t) => {
  const { state, settings, write, problems, keeper, halt } = await bundleServer(t);
  const [first, second] = [sampleDomain(EAST), sampleDomain(EAST)];
  state.body = first.bundle;
  write(settings());
  const made = await keeper();
  t.equal(keysOf(made), 1, 'the start waits for the first answer');
  state.body = JSON.stringify({ trust_domain: EAST, keys: [first.publicJwk, second.publicJwk] });
  await until('the new key is there', () => keysOf(made) === 2);
  state.status = 500;
  await until('the problem is told', () => problems.some((one) => /HTTP 500; its last keys stay/.test(one)));
  t.equal(keysOf(made), 2);
  await halt();
  await until('its absence is told', () =>
    problems.some((one) => /ECONNREFUSED.*its last keys stay/.test(one)),
  );
  t.equal(keysOf(made), 2);
  t.match(made.domains, [{ trustDomain: EAST, keys: 2, problem: /east\.example: / }]);
});

t.test('federation keeper: what is not the bundle of the domain changes nothing', async (t) => {
  const { state, settings, write, problems, keeper } = await bundleServer(t);
  state.body = sampleDomain('evil.example').bundle;
  write(settings());
  const made = await keeper();
  t.match(problems, [/trust_domain is evil\.example, asked was for east\.example; nobody of it is believed/]);
  t.equal(keysOf(made), 0);
  state.body = 'x'.repeat(100_000);
  await until('its size is told', () => problems.some((one) => /65536|exceeded/i.test(one)));
  state.status = 302;
  state.body = '';
  await until('that it leads elsewhere is told', () => problems.some((one) => /HTTP 302/.test(one)));
  state.status = 200;
  state.body = sampleDomain(EAST).bundle;
  await until('it answers well', () => keysOf(made) === 1);
});

t.test(
  'federation keeper: a server that the pinned certificates do not vouch for is not asked',
  async (t) => {
    const { folder, state, settings, write, problems, keeper } = await bundleServer(t);
    state.body = sampleDomain(EAST).bundle;
    writeFileSync(
      join(folder, 'ca.pem'),
      (await makeCertificateAuthority('other', Date.now() / 1000)).certificate,
    );
    write(settings());
    const made = await keeper();
    t.equal(state.asked, 0);
    t.equal(keysOf(made), 0);
    t.match(problems, [/nobody of it is believed/]);
    const other = await bundleServer(t);
    other.state.body = state.body;
    other.write(other.settings({ server_name: 'elsewhere.example' }));
    const misnamed = await other.keeper();
    t.equal(other.state.asked, 0, 'nor one that has another name');
    t.equal(keysOf(misnamed), 0);
  },
);

t.test(
  'federation keeper: settings are followed; a broken file changes nothing, a removed entry is out',
  async (t) => {
    const { folder, write, problems, keeper, rm } = await bundleServer(t);
    const made = await keeper();
    t.equal(made.missing, undefined, 'no file is no federation');
    t.strictSame(made.entries('shop'), []);
    const [first, second] = [sampleDomain(EAST), sampleDomain(EAST)];
    writeFileSync(join(folder, 'east.jwks'), first.bundle);
    const settings = yaml({
      trust_domain: EAST,
      keys_file: 'east.jwks',
      namespaces: shop,
      local_namespaces: ['shop'],
    });
    write(settings);
    await until('the domain is there', () => keysOf(made) === 1);
    t.strictSame(made.entries('bank'), [], 'namespaces that it does not concern are told nothing');
    writeFileSync(
      join(folder, 'east.jwks'),
      JSON.stringify({ trust_domain: EAST, keys: [first.publicJwk, second.publicJwk] }),
    );
    await until('a new key in the file counts', () => keysOf(made) === 2);
    write('federation: [');
    await until('the mistake is told', () =>
      problems.some((one) => /the last settings stay in force/.test(one)),
    );
    t.equal(keysOf(made), 2);
    write('federation: []');
    await until('the domain is out', () => keysOf(made) === undefined);
    write(settings);
    await until('it is in again', () => keysOf(made) === 2);
    rm();
    await until('without the file there is none', () => keysOf(made) === undefined);
  },
);

t.test(
  'federation keeper: settings that are broken from the start are told, and nothing is ready',
  async (t) => {
    const { write, keeper } = await bundleServer(t);
    write('{"federation": 7}');
    const made = await keeper();
    t.match(made.missing, /federation\.yaml: federation has to be a list/);
  },
);

t.test(
  'federation keeper: keys outlive the process, for the same domain and source, up to their end',
  async (t) => {
    const { state, settings, write, keeper, halt } = await bundleServer(t);
    const object = new StoredObject();
    const cache = (): FederationCache => new FederationCache(object.handle());
    state.body = sampleDomain(EAST).bundle;
    write(settings());
    const first = await keeper({ cache: cache() });
    await until('it is kept', () => object.contents !== undefined);
    first.close();
    await halt();
    t.equal(keysOf(await keeper({ cache: cache() })), 1);
    t.equal(
      keysOf(await keeper({ cache: cache(), now: () => Date.now() / 1000 + 86_401 })),
      0,
      'past its end',
    );
    t.equal(
      keysOf(await keeper({ cache: cache(), now: () => Date.now() / 1000 - 1_000 })),
      0,
      'of the future',
    );
    t.equal(keysOf(await keeper()), 0);
    write(settings({ server_name: 'localhost' }));
    t.equal(keysOf(await keeper({ cache: cache() })), 0, 'of another source');
  },
);

t.test(
  'federation keeper: a server whose authority rotates says so in time, and is believed on',
  async (t) => {
    const { state, settings, write, keeper, rotate } = await bundleServer(t);
    const [first, second] = [sampleDomain(EAST), sampleDomain(EAST)];
    const object = new StoredObject();
    const cache = (): FederationCache => new FederationCache(object.handle());
    const next = await makeCertificateAuthority('next', Date.now() / 1000);
    const bundle = (domain: typeof first, authorities: string): string =>
      JSON.stringify({ trust_domain: EAST, keys: [domain.publicJwk], authorities });
    state.body = bundle(first, next.certificate);
    write(settings());
    const made = await keeper({ cache: cache() });
    t.equal(keysOf(made), 1);
    await rotate(next);
    state.body = bundle(second, next.certificate);
    const told = (one: FederationKeeper): string => JSON.stringify(one.entries('shop'));
    await until('the new key is there', () => told(made).includes(String(second.publicJwk['x'])));
    made.close();
    state.body = bundle(first, next.certificate);
    const again = await keeper({ cache: cache() });
    await until('also after a restart', () => told(again).includes(String(first.publicJwk['x'])));
  },
);
