import fc from 'fast-check';
import t from 'tap';
import { decodeObject } from '../../src/sources/objects.ts';

function decoded(value: unknown) {
  const result = decodeObject(value);
  if (result === 'ignored' || 'problems' in result) throw new Error(JSON.stringify(result));
  return result.object;
}

t.test('pod: what kubectl prints becomes what neighbours need to know', (t) => {
  const object = decoded({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web',
      namespace: 'shop',
      uid: 'u1',
      labels: { app: 'web', 'countersign.io/inject': 'true' },
    },
    spec: {
      nodeName: 'n1',
      serviceAccountName: 'web',
      containers: [
        {
          name: 'web',
          ports: [{ name: 'http', containerPort: 8080 }, { containerPort: 9000 }],
          livenessProbe: { httpGet: { port: 'http' } },
          readinessProbe: { tcpSocket: { port: 9001 } },
          lifecycle: { preStop: { httpGet: { port: 9002 } } },
        },
      ],
      initContainers: [
        {
          name: 'proxy',
          restartPolicy: 'Always',
          ports: [{ name: 'admin', containerPort: 1 }],
          startupProbe: { grpc: { port: 9003 } },
        },
        { name: 'once', ports: [{ name: 'gone', containerPort: 2 }] },
      ],
    },
    status: { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'FD00:0::1' }] },
  });
  t.strictSame(object, {
    kind: 'Pod',
    pod: {
      namespace: 'shop',
      name: 'web',
      uid: 'u1',
      serviceAccount: 'web',
      labels: { app: 'web', 'countersign.io/inject': 'true' },
      addresses: ['10.0.0.1', 'fd00::1'],
      nodeName: 'n1',
      ports: [
        { name: 'http', port: 8080, protocol: 'TCP' },
        { name: 'admin', port: 1, protocol: 'TCP' },
      ],
      probePorts: [8080, 9001, 9002, 9003],
      enrolled: true,
      hostNetwork: false,
    },
    annotations: {},
    finished: false,
    terminating: false,
  });
  t.end();
});

t.test('pod: hostNetwork is never enrolled', (t) => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', labels: { 'countersign.io/inject': 'true' } },
  };
  t.match(decoded({ ...pod, spec: { hostNetwork: true } }), { pod: { enrolled: false, hostNetwork: true } });
  t.match(decoded(pod), { pod: { enrolled: true, namespace: 'default' } });
  t.end();
});

t.test('objects: what is wrong is told by field', (t) => {
  const cases: [unknown, string][] = [
    [7, 'kind'],
    [{}, 'kind'],
    [{ apiVersion: 'v1', kind: 'Pod', metadata: {} }, 'metadata.name'],
    [{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', labels: { a: 1 } } }, 'metadata.labels[a]'],
    [
      { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, status: { podIP: '10.0.0.256' } },
      'status.podIP[0]',
    ],
    [
      { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, spec: { podCIDR: '10.0.0.0' } },
      'spec.podCIDRs[0]',
    ],
    [
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 's' }, spec: { ports: [{ port: 0 }] } },
      'spec.ports[0].port',
    ],
  ];
  for (const [value, field] of cases) {
    t.match(decodeObject(value), { problems: [{ field }] }, field);
  }
  t.end();
});

t.test('objects: other kinds and other versions are ignored', (t) => {
  for (const [apiVersion, kind] of [
    ['v1', 'ConfigMap'],
    ['apps/v1', 'Deployment'],
    ['extensions/v1beta1', 'NetworkPolicy'],
    ['v1', 'constructor'],
  ]) {
    t.equal(decodeObject({ apiVersion, kind, metadata: { name: 'x' } }), 'ignored');
  }
  t.end();
});

t.test('objects: nothing makes the decoder throw', (t) => {
  const kind = fc.constantFrom('Pod', 'Namespace', 'Node', 'Service', 'EndpointSlice', 'NetworkPolicy');
  const apiVersion = fc.constantFrom('v1', 'discovery.k8s.io/v1', 'networking.k8s.io/v1');
  const anything = fc.record({
    kind,
    apiVersion,
    metadata: fc.anything(),
    spec: fc.anything(),
    status: fc.anything(),
    endpoints: fc.anything(),
    ports: fc.anything(),
  });
  fc.assert(
    fc.property(fc.oneof(anything, fc.anything()), (value) => {
      decodeObject(value);
    }),
    { numRuns: 2_000 },
  );
  t.end();
});
