import fc from 'fast-check';
import t from 'tap';
import type { ServiceEndpoint, ServicePort } from '../../src/peers/directory.ts';
import { candidateEndpoints, pickEvenly } from '../../src/peers/endpoint-choice.ts';

function endpoint(address: string, more: Partial<ServiceEndpoint> = {}): ServiceEndpoint {
  return { address, port: 80, ready: true, servingWhileTerminating: false, nodeName: 'n1', ...more };
}

const ENDING = { ready: false, servingWhileTerminating: true };
const hints = (nodes: readonly string[], zones?: readonly string[]): Partial<ServiceEndpoint> => ({
  hints: { nodes: new Set(nodes), zones: zones && new Set(zones) },
});

/** As a sidecar picks; with affinity the number is the client's. */
function chooseEndpoint(
  service: ServicePort,
  among: readonly ServiceEndpoint[],
  node: string | undefined,
  random: number,
  failed: readonly ServiceEndpoint[] = [],
): ServiceEndpoint | undefined {
  return pickEvenly(candidateEndpoints(service, among, node, random, failed), random);
}

/** The addresses that may be picked at all. */
function picks(
  endpoints: ServiceEndpoint[],
  local: boolean,
  node: string | undefined,
  failed: string[] = [],
): string {
  const service: ServicePort = {
    namespace: 'shop',
    service: 'beer',
    clientIpAffinity: false,
    localTraffic: local,
    endpoints,
  };
  const bad = endpoints.filter(({ address }) => failed.includes(address));
  const found = Array.from({ length: 1_001 }, (_, index) =>
    chooseEndpoint(service, endpoints, node, index / 1_000, bad),
  );
  return [...new Set(found.map((one) => one?.address ?? 'none'))].join(' ');
}

t.test('endpoint choice: who may be picked', (t) => {
  const far = { nodeName: 'n2' };
  for (const [what, endpoints, expected, local = false, node = 'n1', failed = []] of [
    ['nobody is there', [], 'none'],
    ['ready ones', [endpoint('a'), endpoint('b', ENDING), endpoint('c')], 'a c'],
    ['none ready: those that end', [endpoint('a', { ready: false }), endpoint('b', ENDING)], 'b'],
    ['none usable', [endpoint('a', { ready: false })], 'none'],
    ['local traffic', [endpoint('a'), endpoint('b', far)], 'a', true],
    ['local traffic, ending ones', [endpoint('a', ENDING), endpoint('b', far)], 'a', true],
    ['local traffic, nobody here', [endpoint('b', far)], 'none', true],
    ['local traffic of a pod without a node', [endpoint('b', { nodeName: undefined })], 'none', true, ''],
    ['hints for zones', [endpoint('a', hints([], ['n1', 'n3'])), endpoint('b', hints([], ['n2']))], 'a'],
    ['a hint is missing', [endpoint('a', hints([], ['n1'])), endpoint('b')], 'a b'],
    [
      'a hint is missing on one that is not ready',
      [endpoint('a', hints([], ['n1'])), endpoint('b', ENDING), endpoint('c', hints([], ['n2']))],
      'a',
    ],
    ['no hint is for us', [endpoint('a', hints([], ['n2'])), endpoint('b', hints([], ['n3']))], 'a b'],
    [
      'hints for nodes come first',
      [endpoint('a', hints(['n2'], ['n1'])), endpoint('b', hints(['n1'], ['n2']))],
      'b',
    ],
    [
      'hints for other nodes: zones',
      [endpoint('a', hints(['n2'], ['n1'])), endpoint('b', hints(['n3'], ['n2']))],
      'a',
    ],
    [
      'local traffic is stricter than hints',
      [endpoint('a', hints(['n2'])), endpoint('b', { ...far, ...hints(['n1']) })],
      'a',
      true,
    ],
    ['one failed', [endpoint('a'), endpoint('b'), endpoint('c')], 'a c', false, 'n1', ['b']],
    [
      'the hinted one failed',
      [endpoint('a', hints([], ['n1'])), endpoint('b', hints([], ['n2']))],
      'b',
      false,
      'n1',
      ['a'],
    ],
    ['the only ready one failed', [endpoint('a'), endpoint('b', ENDING)], 'b', false, 'n1', ['a']],
    ['all failed', [endpoint('a'), endpoint('b')], 'a b', false, 'n1', ['a', 'b']],
  ] as readonly (readonly [string, ServiceEndpoint[], string, boolean?, string?, string[]?])[]) {
    t.equal(picks(endpoints, local, node === '' ? undefined : node, failed), expected, what);
  }
  t.end();
});

const affine = (endpoints: readonly ServiceEndpoint[]): ServicePort => ({
  ...{ namespace: 'shop', service: 'beer', clientIpAffinity: true, localTraffic: false },
  endpoints,
});

t.test('endpoint choice: an affine client stays where it is while others come and go', (t) => {
  const many = fc.uniqueArray(fc.nat(200), { minLength: 2, maxLength: 12 });
  fc.assert(
    fc.property(many, fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(11), (numbers, client, leaves) => {
      const all = numbers.map((number) => endpoint(`10.1.0.${number}`));
      const chosen = chooseEndpoint(affine(all), all, 'n1', client)!;
      const without = all.filter((one, index) => index !== leaves % all.length || one === chosen);
      t.equal(chooseEndpoint(affine(without), without.toReversed(), 'n1', client), chosen);
    }),
  );
  t.end();
});

t.test('endpoint choice: clients spread evenly over endpoints, affine or not', (t) => {
  const all = Array.from({ length: 4 }, (_, index) => endpoint(`10.1.0.${index}`));
  for (const clientIpAffinity of [true, false]) {
    const counts = new Map<string, number>();
    for (let client = 0; client < 4_000; client++) {
      const { address } = chooseEndpoint({ ...affine(all), clientIpAffinity }, all, 'n1', client / 4_000)!;
      counts.set(address, (counts.get(address) ?? 0) + 1);
    }
    t.equal(counts.size, 4);
    for (const count of counts.values()) t.ok(count > 800 && count < 1_200, `${count} of 4000`);
  }
  t.end();
});
