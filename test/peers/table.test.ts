import t from 'tap';
import type { Pod } from '../../src/peers/directory.ts';
import { chooseEndpoint } from '../../src/peers/endpoint-choice.ts';
import { buildDirectory } from '../../src/peers/table.ts';

const pod = (name: string, address: string, more: Partial<Pod> = {}): Pod => ({
  namespace: 'demo',
  name,
  uid: `uid-${name}`,
  serviceAccount: 'default',
  labels: {},
  addresses: [address],
  nodeName: 'n1',
  ports: [],
  probePorts: [],
  enrolled: true,
  hostNetwork: false,
  ...more,
});
const there = (one: Pod, more: { finished?: boolean; terminating?: boolean } = {}) => ({
  pod: one,
  finished: false,
  terminating: false,
  ...more,
});
const NODES = [{ name: 'n1', addresses: ['192.168.0.1'], podCidrs: ['10.0.0.0/16', 'fd00::/64'] }];
const NOTHING = { namespaces: [], pods: [], nodes: NODES, services: [], slices: [] };

t.test(
  'directory: an address belongs to a pod, a node, the outside, or to nobody known in the pod network',
  (t) => {
    const directory = buildDirectory({ ...NOTHING, pods: [there(pod('web', '10.0.0.1'))] });
    t.match(directory.owner('10.0.0.1'), { kind: 'pod', pod: { name: 'web' } });
    t.match(directory.owner('192.168.0.1'), { kind: 'node', name: 'n1' });
    t.match(directory.owner('10.0.9.9'), { kind: 'unknown' });
    t.match(directory.owner('fd00::9'), { kind: 'unknown' });
    t.match(directory.owner('203.0.113.1'), { kind: 'external' });
    t.match(directory.owner('no address'), { kind: 'unknown' });
    t.end();
  },
);

t.test('directory: finished and hostNetwork pods own no address; of two the one that stays has it', (t) => {
  const owner = (...pods: ReturnType<typeof there>[]) =>
    buildDirectory({ ...NOTHING, pods }).owner('10.0.0.1');
  const [a, b] = [pod('a', '10.0.0.1'), pod('b', '10.0.0.1')];
  t.match(owner(there(a, { finished: true })), { kind: 'unknown' });
  t.match(owner(there({ ...a, hostNetwork: true })), { kind: 'unknown' });
  t.match(owner(there(a, { terminating: true }), there(b)), { pod: { name: 'b' } });
  t.match(owner(there(b), there(a, { terminating: true })), { pod: { name: 'b' } });
  t.match(owner(there(a, { terminating: true })), { pod: { name: 'a' } });
  t.end();
});

t.test('directory: a Service leads to the endpoints of its port by name, each family to its own', (t) => {
  const port = (name: string, number: number) => ({ name, port: number, protocol: 'TCP' });
  const endpoint = (...addresses: string[]) => ({
    addresses,
    ready: true,
    serving: true,
    terminating: false,
    nodeName: 'n1',
  });
  const directory = buildDirectory({
    ...NOTHING,
    services: [
      {
        namespace: 'demo',
        name: 'web',
        addresses: ['10.96.0.1', 'fd96::1'],
        ports: [port('http', 80), port('admin', 81), { ...port('dns', 53), protocol: 'UDP' }],
        clientIpAffinity: false,
        localTraffic: false,
      },
    ],
    slices: [
      {
        namespace: 'demo',
        service: 'web',
        ports: [port('http', 8080), port('admin', 9090)],
        endpoints: [endpoint('10.0.0.1')],
      },
      { namespace: 'demo', service: 'web', ports: [port('http', 8081)], endpoints: [endpoint('fd00::1')] },
      { namespace: 'other', service: 'web', ports: [port('http', 1)], endpoints: [endpoint('10.0.0.9')] },
    ],
  });
  const at = (address: string, number: number) =>
    directory.service(address, number)?.endpoints.map((one) => `${one.address} ${one.port}`);
  t.strictSame(at('10.96.0.1', 80), ['10.0.0.1 8080']);
  t.strictSame(at('10.96.0.1', 81), ['10.0.0.1 9090']);
  t.strictSame(at('fd96::1', 80), ['fd00::1 8081']);
  t.equal(at('10.96.0.1', 53), undefined);
  t.equal(at('10.96.0.2', 80), undefined);
  t.strictSame(directory.destinationsOf('10.0.0.1', 8080), [{ address: '10.96.0.1', port: 80 }]);
  t.strictSame(directory.destinationsOf('10.0.0.1', 80), []);
  t.end();
});

t.test('directory: a namespace has its name as a label, whatever else it has', (t) => {
  const namespaces = [{ name: 'demo', labels: { team: 'x', 'kubernetes.io/metadata.name': 'other' } }];
  const directory = buildDirectory({ ...NOTHING, namespaces });
  t.strictSame(directory.namespaceLabels('demo'), { team: 'x', 'kubernetes.io/metadata.name': 'demo' });
  t.strictSame(directory.namespaceLabels('new'), { 'kubernetes.io/metadata.name': 'new' });
  t.end();
});

t.test(
  'endpoint choice: ready before ending before nobody; near where that is asked for; even and steady',
  (t) => {
    const end = (address: string, more: object = {}) => ({
      address,
      port: 80,
      ready: true,
      servingWhileTerminating: false,
      nodeName: 'n1',
      ...more,
    });
    const service = {
      namespace: 'demo',
      service: 's',
      clientIpAffinity: false,
      localTraffic: false,
      endpoints: [],
    };
    const pick = (among: ReturnType<typeof end>[], random: number, more: object = {}) =>
      chooseEndpoint({ ...service, ...more }, among, 'n1', random)?.address;
    const [a, b] = [end('a'), end('b', { nodeName: 'n2' })];
    t.equal(pick([], 0.5), undefined);
    t.strictSame(
      [0, 0.49, 0.5, 0.999, 1].map((random) => pick([a, b], random)),
      ['a', 'a', 'b', 'b', 'b'],
    );
    t.equal(pick([b], 0, { localTraffic: true }), undefined);
    const ending = end('e', { ready: false, servingWhileTerminating: true });
    t.equal(pick([end('x', { ready: false }), ending], 0), 'e');
    t.equal(pick([ending, a], 0), 'a');
    t.end();
  },
);
