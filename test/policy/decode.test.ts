import fc from 'fast-check';
import t from 'tap';
import { type DecodedNetworkPolicy, decodeNetworkPolicy } from '../../src/policy/decode.ts';

const decode = (spec: unknown, metadata: unknown = { namespace: 'shop', name: 'p' }): DecodedNetworkPolicy =>
  decodeNetworkPolicy({ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec });
const from = (peer: unknown): unknown => ({ podSelector: {}, ingress: [{ from: [peer] }] });
const ports = (port: unknown): unknown => ({ podSelector: {}, ingress: [{ ports: [port] }] });
const block = (cidr: unknown, except?: unknown): unknown => from({ ipBlock: { cidr, except } });
const expression = (key: unknown, operator: unknown, values?: unknown): unknown => ({
  podSelector: { matchExpressions: [{ key, operator, values }] },
});
const EMPTY = { matchLabels: {}, matchExpressions: [] };

const PEER = 'spec.ingress[0].from[0]';
const PORT = 'spec.ingress[0].ports[0]';
const EXPR = 'spec.podSelector.matchExpressions[0]';
const LONG = 'x'.repeat(64);

/** What the API server refuses, and the field that it names. */
const REFUSED: readonly (readonly [string, unknown, string])[] = [
  ['a peer of nothing', from({}), PEER],
  ['a peer of nulls', from({ podSelector: null, namespaceSelector: null }), PEER],
  ['a null in place of a peer', from(null), PEER],
  ['ipBlock next to podSelector', from({ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }), PEER],
  ['ipBlock next to namespaceSelector', from({ namespaceSelector: {}, ipBlock: { cidr: '::/0' } }), PEER],
  ['a block without cidr', from({ ipBlock: {} }), `${PEER}.ipBlock.cidr`],
  ['an address without a prefix', block('10.0.0.1'), `${PEER}.ipBlock.cidr`],
  ['a prefix over 32', block('10.0.0.0/33'), `${PEER}.ipBlock.cidr`],
  ['a prefix over 128', block('fd00::/129'), `${PEER}.ipBlock.cidr`],
  ['a negative prefix', block('10.0.0.0/-1'), `${PEER}.ipBlock.cidr`],
  ['a CIDR with blanks', block(' 10.0.0.0/8'), `${PEER}.ipBlock.cidr`],
  ['a CIDR with a zone', block('fe80::1%eth0/64'), `${PEER}.ipBlock.cidr`],
  ['three octets', block('10.0.0/8'), `${PEER}.ipBlock.cidr`],
  ['an octet over 255', block('10.0.0.256/32'), `${PEER}.ipBlock.cidr`],
  ['a cidr that is a number', block(10), `${PEER}.ipBlock.cidr`],
  ['except outside cidr', block('10.0.0.0/8', ['192.0.2.0/24']), `${PEER}.ipBlock.except[0]`],
  ['except equal to cidr', block('10.0.0.0/8', ['10.0.0.0/8']), `${PEER}.ipBlock.except[0]`],
  ['except larger than cidr', block('10.0.0.0/8', ['0.0.0.0/0']), `${PEER}.ipBlock.except[0]`],
  ['except of the other family', block('0.0.0.0/0', ['fd00::/64']), `${PEER}.ipBlock.except[0]`],
  [
    'the second except outside',
    block('10.0.0.0/8', ['10.1.0.0/16', '11.0.0.0/16']),
    `${PEER}.ipBlock.except[1]`,
  ],
  ['except that is a text', block('10.0.0.0/8', '10.1.0.0/16'), `${PEER}.ipBlock.except`],
  ['except of null', block('10.0.0.0/8', [null]), `${PEER}.ipBlock.except[0]`],
  ['port 0', ports({ port: 0 }), `${PORT}.port`],
  ['port 65536', ports({ port: 65_536 }), `${PORT}.port`],
  ['a port with a fraction', ports({ port: 80.5 }), `${PORT}.port`],
  ['a port number in quotes', ports({ port: '80' }), `${PORT}.port`],
  ['a port name in capitals', ports({ port: 'HTTP' }), `${PORT}.port`],
  ['a port name of 16 characters', ports({ port: 'abcdefghijklmnop' }), `${PORT}.port`],
  ['a port name with two dashes', ports({ port: 'a--b' }), `${PORT}.port`],
  ['a port name that begins with a dash', ports({ port: '-a' }), `${PORT}.port`],
  ['an empty port name', ports({ port: '' }), `${PORT}.port`],
  ['a port that is true', ports({ port: true }), `${PORT}.port`],
  ['a protocol in small letters', ports({ protocol: 'tcp' }), `${PORT}.protocol`],
  ['an empty protocol', ports({ protocol: '' }), `${PORT}.protocol`],
  ['ICMP', ports({ protocol: 'ICMP' }), `${PORT}.protocol`],
  ['endPort without port', ports({ endPort: 90 }), `${PORT}.endPort`],
  ['endPort with a named port', ports({ port: 'http', endPort: 90 }), `${PORT}.endPort`],
  ['endPort below port', ports({ port: 80, endPort: 79 }), `${PORT}.endPort`],
  ['endPort over 65535', ports({ port: 80, endPort: 65_537 }), `${PORT}.endPort`],
  ['endPort in quotes', ports({ port: 80, endPort: '90' }), `${PORT}.endPort`],
  ['In without values', expression('app', 'In'), `${EXPR}.values`],
  ['NotIn with no value', expression('app', 'NotIn', []), `${EXPR}.values`],
  ['Exists with values', expression('app', 'Exists', ['web']), `${EXPR}.values`],
  ['DoesNotExist with values', expression('app', 'DoesNotExist', ['web']), `${EXPR}.values`],
  ['an unknown operator', expression('app', 'Equals', ['web']), `${EXPR}.operator`],
  ['an operator of node selectors', expression('app', 'Gt', ['1']), `${EXPR}.operator`],
  ['an operator in small letters', expression('app', 'in', ['web']), `${EXPR}.operator`],
  ['an expression without key', expression(undefined, 'Exists'), `${EXPR}.key`],
  ['an expression whose value is no label value', expression('app', 'In', ['a b']), `${EXPR}.values[0]`],
  ['a key with two slashes', expression('a/b/c', 'Exists'), `${EXPR}.key`],
  ['a key with an empty prefix', expression('/app', 'Exists'), `${EXPR}.key`],
  ['a key whose prefix is no DNS name', expression('Example.com/app', 'Exists'), `${EXPR}.key`],
  ['a key of 64 characters', expression(LONG, 'Exists'), `${EXPR}.key`],
  ['a key that ends with a dash', expression('app-', 'Exists'), `${EXPR}.key`],
  ['a key with a line end', expression('app\n', 'Exists'), `${EXPR}.key`],
  ['the key __proto__', expression('__proto__', 'Exists'), `${EXPR}.key`],
  [
    'a label value of 64 characters',
    { podSelector: { matchLabels: { app: LONG } } },
    'spec.podSelector.matchLabels[app]',
  ],
  [
    'a label value that is a number',
    { podSelector: { matchLabels: { app: 1 } } },
    'spec.podSelector.matchLabels[app]',
  ],
  [
    'a label value that is true',
    { podSelector: { matchLabels: { app: true } } },
    'spec.podSelector.matchLabels[app]',
  ],
  ['matchLabels as a list', { podSelector: { matchLabels: ['app'] } }, 'spec.podSelector.matchLabels'],
  ['an unknown policy type', { policyTypes: ['ingress'] }, 'spec.policyTypes[0]'],
  ['three policy types', { policyTypes: ['Ingress', 'Egress', 'Ingress'] }, 'spec.policyTypes'],
  ['ingress as an object', { ingress: { from: [] } }, 'spec.ingress'],
  ['from as an object', { ingress: [{ from: { podSelector: {} } }] }, 'spec.ingress[0].from'],
  ['a rule as a text', { egress: ['all'] }, 'spec.egress[0]'],
  ['spec as a list', [], 'spec'],
];

for (const [what, spec, field] of REFUSED) {
  t.test(`decode: refuses ${what} and names ${field}`, (t) => {
    const decoded = decode(spec);
    if (!('problems' in decoded)) throw new Error(JSON.stringify(decoded.policy));
    t.ok(
      decoded.problems.some((one) => one.field === field),
      JSON.stringify(decoded.problems),
    );
    t.ok(decoded.problems.every((one) => one.reason.length > 10));
    t.end();
  });
}

for (const [metadata, field] of [
  [{ namespace: 'shop' }, 'metadata.name'],
  [{ namespace: 'shop', name: 'No' }, 'metadata.name'],
  [{ namespace: 'shop', name: 'a..b' }, 'metadata.name'],
  [{ namespace: 'shop', name: 'x'.repeat(254) }, 'metadata.name'],
  [{ namespace: 'a.b', name: 'p' }, 'metadata.namespace'],
  [{ namespace: LONG, name: 'p' }, 'metadata.namespace'],
  [{ namespace: 'shop', name: 'p', labels: { app: 'a b' } }, 'metadata.labels[app]'],
  [{ namespace: 'shop', name: 'p', annotations: { 'a b': '' } }, 'metadata.annotations[a b]'],
  [null, 'metadata.name'],
] as const) {
  t.test(`decode: refuses ${JSON.stringify(metadata)?.slice(0, 60)} and names ${field}`, (t) => {
    const decoded = decode({}, metadata);
    t.match('problems' in decoded && decoded.problems, [{ field }]);
    t.end();
  });
}

/** What the API server accepts, and what it then means. */
const ACCEPTED: readonly (readonly [string, unknown, object])[] = [
  ['no spec at all', undefined, { podSelector: EMPTY, policyTypes: ['Ingress'], ingress: [], egress: [] }],
  ['an empty spec', {}, { podSelector: EMPTY, policyTypes: ['Ingress'], ingress: [], egress: [] }],
  [
    'nulls everywhere',
    { podSelector: null, ingress: null, egress: null, policyTypes: null },
    { policyTypes: ['Ingress'] },
  ],
  [
    'an empty list of policy types',
    { policyTypes: [], egress: [{}] },
    { policyTypes: ['Ingress', 'Egress'] },
  ],
  ['an empty list of egress rules', { egress: [] }, { policyTypes: ['Ingress'] }],
  ['Egress alone', { policyTypes: ['Egress'], ingress: [{}] }, { policyTypes: ['Egress'] }],
  ['a policy type twice', { policyTypes: ['Ingress', 'Ingress'] }, { policyTypes: ['Ingress', 'Ingress'] }],
  ['a null in place of a rule', { ingress: [null] }, { ingress: [{ peers: undefined, ports: undefined }] }],
  [
    'an empty port',
    ports({}),
    { ingress: [{ ports: [{ protocol: 'TCP', port: undefined, endPort: undefined }] }] },
  ],
  [
    'a null port',
    ports({ port: null, protocol: null, endPort: null }),
    { ingress: [{ ports: [{ protocol: 'TCP' }] }] },
  ],
  [
    'endPort equal to port',
    ports({ port: 80, endPort: 80 }),
    { ingress: [{ ports: [{ port: 80, endPort: 80 }] }] },
  ],
  [
    'a port name of 15 characters',
    ports({ port: 'abcdefghijklmno' }),
    { ingress: [{ ports: [{ port: 'abcdefghijklmno' }] }] },
  ],
  ['bits behind the prefix', block('10.1.2.3/8'), { ingress: [{ peers: [{ cidr: '10.0.0.0/8' }] }] }],
  [
    'leading zeros, read as decimal',
    block('010.001.000.000/016'),
    { ingress: [{ peers: [{ cidr: '10.1.0.0/16' }] }] },
  ],
  ['IPv6 written out', block('FD00:0000:0:0:0:0:0:0/16'), { ingress: [{ peers: [{ cidr: 'fd00::/16' }] }] }],
  ['an IPv4-mapped block', block('::ffff:10.0.0.0/104'), { ingress: [{ peers: [{ cidr: '10.0.0.0/8' }] }] }],
  [
    'a mapped block that cuts the mapping',
    block('::ffff:10.0.0.0/90'),
    { ingress: [{ peers: [{ cidr: '::ffc0:0:0/90' }] }] },
  ],
  [
    'except with bits behind the prefix',
    block('10.0.0.0/8', ['10.1.2.3/16']),
    { ingress: [{ peers: [{ except: ['10.1.0.0/16'] }] }] },
  ],
  [
    'except twice',
    block('10.0.0.0/8', ['10.1.0.0/16', '10.1.0.0/16']),
    { ingress: [{ peers: [{ except: ['10.1.0.0/16', '10.1.0.0/16'] }] }] },
  ],
  [
    'an empty label value',
    { podSelector: { matchLabels: { app: '' } } },
    { podSelector: { matchLabels: { app: '' } } },
  ],
  [
    'a null label value',
    { podSelector: { matchLabels: { app: null } } },
    { podSelector: { matchLabels: { app: '' } } },
  ],
  [
    'a key with a prefix',
    expression('example.com/App_1.x', 'Exists'),
    { podSelector: { matchExpressions: [{ key: 'example.com/App_1.x' }] } },
  ],
  [
    'the key constructor',
    expression('constructor', 'Exists'),
    { podSelector: { matchExpressions: [{ key: 'constructor' }] } },
  ],
  [
    'a block next to another entry',
    { ingress: [{ from: [{ podSelector: {} }, { ipBlock: { cidr: '::/0' } }] }] },
    { ingress: [{ peers: [{ kind: 'pods' }, { kind: 'block' }] }] },
  ],
];

for (const [what, spec, expected] of ACCEPTED) {
  t.test(`decode: accepts ${what}`, (t) => {
    const decoded = decode(spec);
    if ('problems' in decoded) throw new Error(JSON.stringify(decoded.problems));
    t.match(decoded.policy, expected);
    // Sloppy CIDRs are told as such, and nothing else is.
    t.strictSame(
      decoded.warnings.filter(({ reason }) => !reason.includes('stricter API servers')),
      [],
    );
    t.end();
  });
}

t.test('decode: without a namespace it is in default', (t) => {
  const decoded = decode({}, { name: 'p' });
  t.match(decoded, { policy: { namespace: 'default', name: 'p' } });
  t.end();
});

t.test(
  'decode: an unknown field does nothing and is warned of, for it may have been meant to restrict',
  (t) => {
    const decoded = decode({ podSelector: {}, ingress: [{ form: [{ podSelector: {} }] }] });
    t.match(decoded, {
      policy: { ingress: [{ peers: undefined, ports: undefined }] },
      warnings: [{ field: 'spec.ingress[0].form', reason: /from, ports/ }],
    });
    t.end();
  },
);

t.test('decode: what kubectl prints decodes without a warning', (t) => {
  const decoded = decodeNetworkPolicy({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' },
      creationTimestamp: '2026-01-01T00:00:00Z',
      generation: 1,
      name: 'p',
      namespace: 'shop',
      resourceVersion: '1',
      uid: '0d3c6a39-7b1b-4a5f-9f0e-8a4f0f0f0f0f',
    },
    spec: { podSelector: {}, policyTypes: ['Ingress'] },
    status: {},
  });
  t.match(decoded, { policy: { name: 'p' }, warnings: [] });
  t.end();
});

t.test('decode: refuses what is no NetworkPolicy of this version', (t) => {
  for (const object of [
    null,
    undefined,
    1,
    'x',
    [],
    {},
    { apiVersion: 'extensions/v1beta1', kind: 'NetworkPolicy' },
  ]) {
    t.ok('problems' in decodeNetworkPolicy(object), JSON.stringify(object));
  }
  t.end();
});

t.test('decode: a list beyond all measure is refused, and the telling of faults ends', (t) => {
  const flood = decode({ ingress: [{ ports: Array.from({ length: 200_001 }, () => ({})) }] });
  t.match(flood, {
    problems: [{ field: 'spec.ingress[0].ports', reason: /more entries than are accepted/ }],
  });
  const faulty = decode({ ingress: [{ ports: Array.from({ length: 1000 }, () => ({ port: 0 })) }] });
  t.equal('problems' in faulty && faulty.problems.length, 50);
  t.end();
});

t.test('decode: any JSON value gives a policy or problems, and never throws', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (spec, metadata) => {
      for (const decoded of [decode(spec), decode(from(spec)), decode(ports(spec)), decode({}, metadata)]) {
        if ('problems' in decoded && decoded.problems.length === 0) return false;
      }
      return true;
    }),
    { numRuns: 3000 },
  );
  t.end();
});
