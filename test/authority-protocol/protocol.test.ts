import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  encodeClientMessage,
  encodeServerMessage,
  parseClientMessage,
  parseServerMessage,
  type StateMessage,
} from '../../src/authority-protocol/messages.ts';
import { signRequest, verifyRequest } from '../../src/authority-protocol/request-proof.ts';
import { wireObject } from '../../src/authority-protocol/wire-objects.ts';
import { generateOwnKey } from '../../src/identity/keys.ts';
import { decodeObject, type ClusterObject } from '../../src/sources/objects.ts';
import { NODE, rawNamespace, rawPod, rawService, rawSlice } from '../authority/cluster.ts';
import * as any from '../policy/arbitraries.ts';
import { runs } from '../support/effort.ts';

const NOW = 1_800_000_000;
const KEY = generateOwnKey();
const REQUEST = { method: 'POST', path: '/v1/identity', body: '{"a":1}', token: 'service-account-token' };
const NONCE = 'n'.repeat(22);

t.test('request proof: verifies for the very request, and names the key', async (t) => {
  const proof = await signRequest(REQUEST, KEY, NOW, NONCE);
  t.match(await verifyRequest(proof, REQUEST, NOW + 59), { key: KEY.publicKey, nonce: NONCE });
});

t.test(
  'request proof: is worth nothing for another method, path, body or token, or at another time',
  async (t) => {
    const proof = await signRequest(REQUEST, KEY, NOW, NONCE);
    const others: [string, Partial<typeof REQUEST>, number][] = [
      ['method', { method: 'GET' }, 0],
      ['path', { path: '/v1/stream' }, 0],
      ['body', { body: '{"a":2}' }, 0],
      ['token', { token: 'of another pod' }, 0],
      ['too old', {}, 61],
      ['from the future', {}, -61],
    ];
    for (const [what, over, later] of others) {
      t.type(await verifyRequest(proof, { ...REQUEST, ...over }, NOW + later), 'string', what);
    }
  },
);

t.test('request proof: forged, stripped or of another kind is refused', async (t) => {
  const proof = await signRequest(REQUEST, KEY, NOW, NONCE);
  const [header = '', payload = '', signature = ''] = proof.split('.');
  const other = generateOwnKey();
  const forge = (over: object): string => {
    const made = { ...(JSON.parse(Buffer.from(header, 'base64url').toString()) as object), ...over };
    return `${Buffer.from(JSON.stringify(made)).toString('base64url')}.${payload}.${signature}`;
  };
  const forged = {
    'another key in the header': forge({ jwk: { kty: 'EC', crv: 'P-256', ...other.publicKey } }),
    'no algorithm': `${Buffer.from('{"alg":"none","typ":"countersign-proof+jwt"}').toString('base64url')}.${payload}.`,
    'an identity in its place': forge({ typ: 'countersign+jwt' }),
    'a private key in the header': forge({ jwk: KEY.jwk }),
    'a nonce that is too short': await signRequest(REQUEST, KEY, NOW, 'short'),
    rubbish: 'x',
    nothing: '',
    'too long': 'x'.repeat(5_000),
  };
  for (const [what, given] of Object.entries(forged)) {
    t.type(await verifyRequest(given, REQUEST, NOW), 'string', what);
  }
});

const STATE: StateMessage = {
  type: 'state',
  reset: true,
  more: false,
  self: 'shop/web',
  set: [{ kind: 'Pod' }],
  remove: ['pod/shop/db'],
  answered: ['10.0.0.1'],
  networks: { pods: ['10.0.0.0/8'], services: [] },
  marks: [{ uid: 'u', notBefore: 5, reason: 'second-key' }],
  trust: { trust_domain: 'a' },
  authorities: 'PEM',
};

t.test('messages: come back as they were written', (t) => {
  const ask = {
    type: 'ask' as const,
    addresses: ['10.0.0.1', 'fd00::1'],
    peers: [{ pod: 'shop/db', uid: 'u-1', issuedAt: 7 }],
    drop: ['10.0.0.2'],
  };
  t.strictSame(parseClientMessage(encodeClientMessage(ask)), ask);
  t.strictSame(parseServerMessage(encodeServerMessage(STATE)), STATE);
  const alive = { type: 'alive' as const, at: 5, view: 4 };
  t.strictSame(parseServerMessage(encodeServerMessage(alive)), alive);
  t.end();
});

t.test('messages: what a newer release adds is passed over, and what breaks the rules is named', (t) => {
  t.equal(parseServerMessage('{"type":"weather","rain":true}'), undefined);
  t.equal(parseClientMessage('{"type":"weather"}'), undefined);
  const more = parseServerMessage(encodeServerMessage(STATE).replace('{', '{"newer":1,'));
  t.strictSame(more, STATE);
  t.match(parseServerMessage(encodeServerMessage(STATE).replace('second-key', 'a-newer-reason')), {
    marks: [{ uid: 'u', notBefore: 5 }],
  });
  for (const [given, told] of [
    ['nonsense', /JSON/],
    ['[]', /JSON/],
    ['{}', /type/],
    ['{"type":"ask","addresses":["10.0.0.01"]}', /addresses/],
    ['{"type":"ask","addresses":7}', /lists/],
    ['{"type":"ask","peers":[{"pod":"../x"}]}', /pod/],
    ['{"type":"ask","peers":[{"pod":"a/b","uid":"u","issued_at":"now"}]}', /issued_at/],
  ] as const) {
    t.match(parseClientMessage(given), told, given);
  }
  for (const [given, told] of [
    ['{"type":"state"}', /self/],
    ['{"type":"state","self":"a/b","marks":[{"uid":"u"}]}', /marks/],
    ['{"type":"state","self":"a/b","set":{}}', /lists/],
    ['{"type":"alive"}', /alive/],
  ] as const) {
    t.match(parseServerMessage(given), told, given);
  }
  t.end();
});

t.test('messages: no line of any kind is an exception', (t) => {
  const line = fc.oneof(
    fc.string(),
    fc.json(),
    fc.object().map((one) => JSON.stringify({ type: 'state', ...one })),
  );
  fc.assert(
    fc.property(line, (text) => {
      parseClientMessage(text);
      parseServerMessage(text);
    }),
    { numRuns: runs(300) },
  );
  t.end();
});

function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown;
}

function roundTrip(object: ClusterObject): ClusterObject {
  const decoded = decodeObject(JSON.parse(JSON.stringify(wireObject(object))));
  if (decoded === 'ignored' || !('object' in decoded)) throw new Error(JSON.stringify(decoded));
  return decoded.object;
}

t.test('wire objects: every kind of object says the same at the other end', (t) => {
  const raws = [
    rawNamespace('shop', { a: 'b' }),
    NODE,
    rawService('db', '10.9.0.1'),
    rawSlice('db', ['10.1.0.1', '10.1.0.2']),
    rawPod('web', { labels: { app: 'web' } }),
    rawPod('old', { phase: 'Failed', deleting: true }),
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: 'a' },
      spec: { cidrs: ['10.9.0.0/16'] },
    },
  ];
  for (const raw of raws) {
    const decoded = decodeObject(raw);
    if (decoded === 'ignored' || !('object' in decoded)) throw new Error('unreadable');
    const again = roundTrip(decoded.object);
    t.strictSame(roundTrip(again), again, 'and stays so');
    t.match(again, {
      ...decoded.object,
      ...(decoded.object.kind === 'Pod' ? { terminating: decoded.object.terminating } : {}),
    });
  }
  t.end();
});

t.test('wire objects: every NetworkPolicy decides the same at the other end', (t) => {
  fc.assert(
    fc.property(any.policy, (policy) =>
      isDeepStrictEqual(
        plain(roundTrip({ kind: 'NetworkPolicy', policy })),
        plain({ kind: 'NetworkPolicy', policy }),
      ),
    ),
    { numRuns: runs(300) },
  );
  t.end();
});

t.test('wire objects: cluster policies of all three kinds decide the same at the other end', (t) => {
  const everything = { namespaceSelector: { matchLabels: {} } };
  const specs: [string, string, string, object][] = [
    ['ClusterNetworkPolicy', 'v1alpha2', 'deny', { tier: 'Admin', priority: 3 }],
    ['AdminNetworkPolicy', 'v1alpha1', 'old', { priority: 4 }],
    ['BaselineAdminNetworkPolicy', 'v1alpha1', 'default', {}],
  ];
  for (const [kind, version, name, head] of specs) {
    const cnp = version === 'v1alpha2';
    const ports = cnp
      ? {
          protocols: [
            { tcp: { destinationPort: { number: 80 } } },
            { udp: { destinationPort: { range: { start: 5, end: 9 } } } },
            { destinationNamedPort: 'http' },
          ],
        }
      : {
          ports: [
            { portNumber: { protocol: 'TCP', port: 80 } },
            { portRange: { protocol: 'UDP', start: 5, end: 9 } },
            { namedPort: 'http' },
          ],
        };
    const decoded = decodeObject({
      apiVersion: `policy.networking.k8s.io/${version}`,
      kind,
      metadata: { name },
      spec: {
        ...head,
        subject: { namespaces: everything.namespaceSelector },
        ingress: [
          {
            name: 'a',
            action: 'Deny',
            from: [{ pods: { ...everything, podSelector: { matchLabels: { a: 'b' } } } }],
            ...ports,
          },
        ],
        egress: [
          {
            action: cnp ? 'Accept' : 'Allow',
            to: [{ networks: ['10.0.0.0/8'] }, { nodes: { matchLabels: { a: 'b' } } }],
          },
        ],
      },
    });
    if (decoded === 'ignored' || !('object' in decoded)) throw new Error(JSON.stringify(decoded));
    t.strictSame(roundTrip(decoded.object), decoded.object, kind);
  }
  t.end();
});
