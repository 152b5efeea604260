import t from 'tap';
import type { Pod } from '../../src/peers/directory.ts';
import { buildDirectory, type DirectoryContents } from '../../src/peers/table.ts';

const EMPTY: DirectoryContents = { namespaces: [], pods: [], nodes: [], services: [], slices: [] };

function pod(name: string, address: string, more: Partial<Pod> = {}): Pod {
  return {
    namespace: 'shop',
    name,
    uid: name,
    serviceAccount: 'default',
    labels: {},
    addresses: [address],
    nodeName: 'n1',
    ports: [],
    probePorts: [],
    enrolled: false,
    hostNetwork: false,
    ...more,
  };
}

const here = (one: Pod): DirectoryContents['pods'][number] => ({
  pod: one,
  finished: false,
  terminating: false,
});
const node = (name: string, address: string, podCidrs: string[] = [], zone?: string) => ({
  name,
  addresses: [address],
  podCidrs,
  zone,
});

t.test('directory: who has an address', (t) => {
  const directory = buildDirectory({
    ...EMPTY,
    pods: [
      here(pod('web', '10.1.0.1')),
      here(pod('agent', '192.0.2.1', { hostNetwork: true })),
      here(pod('agent-2', '192.0.2.9', { hostNetwork: true, nodeName: 'n9' })),
      { pod: pod('job', '10.1.0.2'), finished: true, terminating: false },
      { pod: pod('ending', '10.1.0.3'), finished: false, terminating: true },
    ],
    nodes: [node('n1', '192.0.2.1', ['10.1.0.0/24', 'fd00:1::/64'])],
    services: [
      {
        ...{ namespace: 'shop', name: 'beer', addresses: ['10.96.0.1', '198.51.100.1'] },
        ...{ clusterAddresses: ['10.96.0.1'], ports: [], clientIpAffinity: false, localTraffic: false },
      },
    ],
    serviceCidrs: [{ cidrs: ['10.97.0.0/16'] }],
    podCidrs: ['10.2.0.0/16'],
  });
  for (const [address, expected] of [
    ['10.1.0.1', 'pod web'],
    ['192.0.2.1', 'node n1'],
    ['192.0.2.9', 'node n9'],
    ['10.1.0.2', 'unknown'],
    ['10.1.0.3', 'pod ending'],
    ['10.1.0.4', 'unknown'],
    ['10.1.1.4', 'external'],
    ['fd00:1::77', 'unknown'],
    ['fd00:2::77', 'external'],
    ['10.2.200.1', 'unknown'],
    ['10.96.0.1', 'unknown'],
    ['10.97.3.4', 'unknown'],
    ['198.51.100.1', 'external'],
    ['8.8.8.8', 'external'],
    ['no address', 'unknown'],
  ] as const) {
    const owner = directory.owner(address);
    const name = owner.kind === 'pod' ? ` ${owner.pod.name}` : owner.kind === 'node' ? ` ${owner.name}` : '';
    t.equal(`${owner.kind}${name}`, expected, address);
  }
  t.equal(directory.pod('shop', 'job')?.name, 'job');
  t.equal([...directory.pods()].length, 5);
  t.end();
});

t.test('directory: of two pods with one address the one that stays has it, of those the youngest', (t) => {
  const claims = {
    old: { pod: pod('old', '10.1.0.1'), finished: false, terminating: false, createdAt: 1 },
    young: { pod: pod('young', '10.1.0.1'), finished: false, terminating: false, createdAt: 2 },
    ending: { pod: pod('ending', '10.1.0.1'), finished: false, terminating: true, createdAt: 3 },
    finished: { pod: pod('finished', '10.1.0.1'), finished: true, terminating: false, createdAt: 4 },
  };
  for (const [names, owner, told] of [
    [['old', 'young'], 'young', ['young old']],
    [['ending', 'old'], 'old', []],
    [['finished', 'ending'], 'ending', []],
    [['old', 'ending', 'young', 'finished'], 'young', ['young old']],
  ] as const) {
    for (const order of [names, [...names].toReversed()]) {
      const shared: string[] = [];
      const pods = order.map((name) => claims[name]);
      const directory = buildDirectory({ ...EMPTY, pods }, (_, of) =>
        shared.push(of.map(({ name }) => name).join(' ')),
      );
      t.match(directory.owner('10.1.0.1'), { pod: { name: owner } }, order.join(', '));
      t.strictSame(shared, told);
    }
  }
  t.end();
});

t.test('directory: a namespace has its name as a label, whatever it says itself', (t) => {
  const name = 'kubernetes.io/metadata.name';
  const directory = buildDirectory({
    ...EMPTY,
    namespaces: [{ name: 'shop', labels: { a: 'b', [name]: 'bank' } }],
  });
  t.strictSame(directory.namespaceLabels('shop'), { a: 'b', [name]: 'shop' });
  t.strictSame(directory.namespaceLabels('other'), { [name]: 'other' });
  t.end();
});

t.test('directory: a Service has no address that it claims and that is that of somebody else', (t) => {
  const service = (name: string, more: object) => ({
    ...{ namespace: name, name, ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
    ...{ addresses: [], clusterAddresses: [], clientIpAffinity: false, localTraffic: false, ...more },
  });
  const claimed = [
    '10.1.0.1',
    '10.1.0.77',
    '10.96.0.1',
    '10.96.0.9',
    '192.0.2.1',
    '198.51.100.1',
    '203.0.113.1',
  ];
  const given = ['198.51.100.1', '10.1.0.78', '10.1.0.1'];
  const balanced = { addresses: given, balancerAddresses: given };
  const services = [
    service('attacker', { addresses: ['10.96.0.66', ...claimed], clusterAddresses: ['10.96.0.66'] }),
    service('bank', { addresses: ['10.96.0.1'], clusterAddresses: ['10.96.0.1'] }),
    service('shop', balanced),
  ];
  for (const order of [services, services.toReversed()]) {
    const directory = buildDirectory({
      ...EMPTY,
      pods: [here(pod('web', '10.1.0.1'))],
      nodes: [node('n1', '192.0.2.1', ['10.1.0.0/24'])],
      serviceCidrs: [{ cidrs: ['10.96.0.0/16'] }],
      services: order,
      slices: services.map(({ namespace, name }) => ({
        ...{ namespace, service: name, ports: [{ name: 'http', port: 8080, protocol: 'TCP' }] },
        endpoints: [
          { addresses: ['10.1.0.66'], ready: true, serving: true, terminating: false, nodeName: 'n1' },
        ],
      })),
    });
    for (const [address, whose] of [
      ['10.1.0.1', undefined],
      ['10.1.0.77', undefined],
      ['10.96.0.9', undefined],
      ['10.96.0.1', 'bank'],
      ['198.51.100.1', 'shop'],
      ['10.1.0.78', 'shop'],
      ['192.0.2.1', 'attacker'],
      ['203.0.113.1', 'attacker'],
    ] as const)
      t.equal(directory.service(address, 80)?.service, whose, address);
    t.match(directory.owner('10.1.0.1'), { pod: { name: 'web' } });
    const destinations = directory.destinationsOf('10.1.0.66', 8080).map(({ address }) => address);
    t.strictSame(
      destinations.filter((address) => address.startsWith('10.1.')),
      ['10.1.0.78'],
    );
  }
  t.end();
});

t.test('directory: services, their endpoints by family and port name, and the way back', (t) => {
  const endpoint = (address: string, ready = true, more: object = {}) => ({
    ...{ addresses: [address], ready, serving: ready, terminating: false, nodeName: 'n1' },
    ...more,
  });
  const directory = buildDirectory({
    ...EMPTY,
    nodes: [
      node('n1', '192.0.2.1', [], 'a'),
      node('n2', '192.0.2.2', [], 'b'),
      node('n3', '192.0.2.3', [], 'a'),
    ],
    services: [
      {
        ...{ namespace: 'shop', name: 'beer', addresses: ['10.96.0.1', 'fd01::1', '198.51.100.1'] },
        clusterAddresses: ['10.96.0.1', 'fd01::1'],
        ports: [
          { name: 'http', port: 80, protocol: 'TCP' },
          { name: 'admin', port: 81, protocol: 'TCP' },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
        ...{ clientIpAffinity: true, localTraffic: true },
      },
    ],
    slices: [
      {
        ...{ namespace: 'shop', service: 'beer' },
        ports: [
          { name: 'admin', port: 9000, protocol: 'TCP' },
          { name: 'http', port: 8080, protocol: 'TCP' },
        ],
        endpoints: [
          endpoint('10.1.0.1', false),
          endpoint('10.1.0.2', false, {
            serving: true,
            terminating: true,
            hintedZones: ['a'],
            hintedNodes: ['n2'],
          }),
        ],
      },
      {
        ...{ namespace: 'shop', service: 'beer' },
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [endpoint('10.1.0.1'), endpoint('fd00::1')],
      },
      {
        ...{ namespace: 'bank', service: 'beer' },
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [endpoint('10.1.0.66')],
      },
    ],
  });
  const http = directory.service('10.96.0.1', 80)!;
  t.match(http, { namespace: 'shop', service: 'beer', clientIpAffinity: true, localTraffic: true });
  t.strictSame(http.endpoints, [
    { address: '10.1.0.1', port: 8080, ready: true, servingWhileTerminating: false, nodeName: 'n1' },
    {
      ...{ address: '10.1.0.2', port: 8080, ready: false, servingWhileTerminating: true, nodeName: 'n1' },
      hints: { nodes: new Set(['n2']), zones: new Set(['n1', 'n3']) },
    },
  ]);
  t.strictSame(
    directory.service('fd01::1', 80)!.endpoints.map(({ address }) => address),
    ['fd00::1'],
  );
  t.equal(directory.service('198.51.100.1', 80)!.localTraffic, false, 'only within the cluster');
  t.strictSame(
    directory.service('10.96.0.1', 81)!.endpoints.map(({ port }) => port),
    [9000, 9000],
  );
  t.equal(directory.service('10.96.0.1', 53), undefined);
  t.equal(directory.service('10.96.0.1', 82), undefined);
  t.strictSame(directory.destinationsOf('10.1.0.1', 8080), [
    { address: '10.96.0.1', port: 80 },
    { address: '198.51.100.1', port: 80 },
  ]);
  t.strictSame(directory.destinationsOf('fd00::1', 8080), [{ address: 'fd01::1', port: 80 }]);
  t.strictSame(directory.destinationsOf('10.1.0.1', 80), []);
  t.strictSame(directory.destinationsOf('10.1.0.66', 8080), [], 'a slice of another namespace is not ours');
  t.end();
});

t.test("directory: the gateway of a node's pods is the node, unless a pod has that address", (t) => {
  const nodes = [
    node('n1', '192.0.2.1', ['10.1.0.0/24', 'fd00:1::/64']),
    node('n2', '192.0.2.2', ['10.2.0.0/32']),
  ];
  const directory = buildDirectory({ ...EMPTY, nodes });
  for (const address of ['10.1.0.1', 'fd00:1::1'])
    t.match(directory.owner(address), { kind: 'node', name: 'n1' });
  t.match(directory.owner('10.1.0.2'), { kind: 'unknown' });
  t.match(directory.owner('10.2.0.1'), { kind: 'external' }, 'a block of one address has no gateway');
  const taken = buildDirectory({ ...EMPTY, nodes, pods: [here(pod('web', '10.1.0.1'))] });
  t.match(taken.owner('10.1.0.1'), { kind: 'pod', pod: { name: 'web' } });
  t.end();
});

t.test('directory: the own default route says where the gateway is, inside the pod network alone', (t) => {
  const nodes = [
    node('n1', '192.0.2.1', ['10.1.0.0/24', 'fd00:1::/64']),
    node('n2', '192.0.2.2', ['10.2.0.0/24']),
  ];
  const seenBy = (...addresses: string[]) =>
    buildDirectory({ ...EMPTY, nodes, podCidrs: ['10.9.0.0/16'], ownGateways: { node: 'n1', addresses } });
  const routed = seenBy('10.1.0.102');
  t.match(routed.owner('10.1.0.102'), { kind: 'node', name: 'n1' });
  t.match(routed.owner('10.1.0.1'), { kind: 'unknown' }, 'the convention counts no more');
  t.match(routed.owner('fd00:1::1'), { kind: 'node', name: 'n1' }, 'but for the other family');
  t.match(routed.owner('10.2.0.1'), { kind: 'node', name: 'n2' }, 'and for other nodes');
  t.match(seenBy('10.9.4.7').owner('10.9.4.7'), { kind: 'node', name: 'n1' }, 'a block that no Node tells');
  const outside = seenBy('169.254.1.1', 'fe80::1');
  for (const address of ['169.254.1.1', 'fe80::1'])
    t.match(outside.owner(address), { kind: 'external' }, 'a router elsewhere is nobody of the node');
  for (const address of ['10.1.0.1', 'fd00:1::1']) t.match(outside.owner(address), { kind: 'unknown' });
  t.match(seenBy().owner('10.1.0.1'), { kind: 'node', name: 'n1' }, 'without a route the convention holds');
  const pods = [here(pod('web', '10.1.0.102'))];
  const taken = buildDirectory({
    ...EMPTY,
    nodes,
    pods,
    ownGateways: { node: 'n1', addresses: ['10.1.0.102'] },
  });
  t.match(taken.owner('10.1.0.102'), { kind: 'pod', pod: { name: 'web' } });
  t.end();
});
