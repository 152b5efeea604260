import fc from 'fast-check';
import t from 'tap';
import { decodeObject } from '../../src/sources/objects.ts';
import { readManifestText } from '../../src/sources/manifest-file.ts';

function object(value: unknown): unknown {
  const decoded = decodeObject(value);
  return typeof decoded === 'object' && 'object' in decoded ? decoded.object : decoded;
}

function faults(value: unknown): string[] {
  const decoded = decodeObject(value);
  return typeof decoded === 'object' && 'problems' in decoded
    ? decoded.problems.map(({ field }) => field)
    : [];
}

const CORE = { apiVersion: 'v1' };
const SHOP = { name: 'web', namespace: 'shop' };

t.test('objects: a pod as kubectl prints it', (t) => {
  const value = {
    ...CORE,
    kind: 'Pod',
    metadata: {
      ...SHOP,
      uid: 'u-1',
      labels: { app: 'web', 'countersign.io/inject': 'true' },
      creationTimestamp: '2026-01-02T03:04:05Z',
    },
    spec: {
      nodeName: 'n1',
      serviceAccountName: 'web-sa',
      initContainers: [
        {
          name: 'once',
          ports: [{ name: 'once', containerPort: 1 }],
          livenessProbe: { tcpSocket: { port: 2 } },
        },
        {
          name: 'stays',
          restartPolicy: 'Always',
          ports: [{ name: 'admin', containerPort: 9000 }],
          startupProbe: { httpGet: { port: 'admin' } },
        },
      ],
      containers: [
        {
          name: 'app',
          ports: [
            { name: 'http', containerPort: 8080 },
            { name: 'dns', containerPort: 53, protocol: 'UDP' },
            { containerPort: 81 },
          ],
          livenessProbe: { httpGet: { port: 'http' } },
          readinessProbe: { grpc: { port: 7070 } },
          startupProbe: { tcpSocket: { port: 'admin' } },
          lifecycle: { preStop: { httpGet: { port: 7071 } }, postStart: { exec: { command: ['x'] } } },
        },
      ],
    },
    status: { phase: 'Running', podIP: '10.1.0.7', podIPs: [{ ip: '10.1.0.7' }, { ip: 'FD00:0:0::7' }] },
  };
  t.strictSame(object(value), {
    kind: 'Pod',
    pod: {
      namespace: 'shop',
      name: 'web',
      uid: 'u-1',
      serviceAccount: 'web-sa',
      labels: { app: 'web', 'countersign.io/inject': 'true' },
      addresses: ['10.1.0.7', 'fd00::7'],
      nodeName: 'n1',
      ports: [
        { name: 'http', port: 8080, protocol: 'TCP' },
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'admin', port: 9000, protocol: 'TCP' },
      ],
      // A port name is one of the probe's own container: «admin» of the app's start-up probe is nobody's.
      probePorts: [8080, 7070, 7071, 9000],
      enrolled: true,
      hostNetwork: false,
    },
    annotations: {},
    finished: false,
    terminating: false,
    createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
  });
  t.end();
});

t.test('objects: what makes a pod end, and what keeps it from being enrolled', (t) => {
  const pod = (more: object): unknown => object({ ...CORE, kind: 'Pod', metadata: SHOP, ...more });
  t.match(pod({ status: { phase: 'Succeeded' } }), { finished: true });
  t.match(pod({ status: { phase: 'Failed' } }), { finished: true });
  t.match(pod({ metadata: { ...SHOP, deletionTimestamp: '2026-01-01T00:00:00Z' } }), { terminating: true });
  t.match(pod({}), { finished: false, terminating: false, pod: { enrolled: false, uid: 'shop.web' } });
  const labels = { 'countersign.io/inject': 'true' };
  t.match(pod({ metadata: { ...SHOP, labels }, spec: { hostNetwork: true } }), {
    pod: { enrolled: false, hostNetwork: true },
  });
  t.match(pod({ metadata: { ...SHOP, labels: { 'countersign.io/inject': 'True' } } }), {
    pod: { enrolled: false },
  });
  t.end();
});

t.test('objects: nodes, services, slices, namespaces', (t) => {
  t.strictSame(
    object({
      ...CORE,
      kind: 'Node',
      metadata: { name: 'n1', labels: { 'topology.kubernetes.io/zone': 'a' } },
      spec: { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24', 'fd00::/64'] },
      status: {
        addresses: [
          { type: 'Hostname', address: 'n1' },
          { type: 'InternalIP', address: '192.0.2.1' },
          { type: 'ExternalIP', address: '2001:DB8::1' },
        ],
      },
    }),
    {
      kind: 'Node',
      name: 'n1',
      addresses: ['192.0.2.1', '2001:db8::1'],
      podCidrs: ['10.1.0.0/24', 'fd00::/64'],
      labels: { 'topology.kubernetes.io/zone': 'a' },
      zone: 'a',
    },
  );
  t.strictSame(
    object({
      ...CORE,
      kind: 'Service',
      metadata: SHOP,
      spec: {
        clusterIP: '10.96.0.1',
        clusterIPs: ['10.96.0.1', 'fd01::1'],
        externalIPs: ['198.51.100.1'],
        ports: [{ port: 80, targetPort: 'http' }],
        sessionAffinity: 'ClientIP',
        internalTrafficPolicy: 'Local',
      },
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.1' }, { hostname: 'lb.example' }] } },
    }),
    {
      kind: 'Service',
      namespace: 'shop',
      name: 'web',
      addresses: ['10.96.0.1', 'fd01::1', '198.51.100.1', '203.0.113.1'],
      clusterAddresses: ['10.96.0.1', 'fd01::1'],
      balancerAddresses: ['203.0.113.1'],
      ports: [{ name: '', port: 80, protocol: 'TCP' }],
      clientIpAffinity: true,
      localTraffic: true,
    },
  );
  t.match(object({ ...CORE, kind: 'Service', metadata: SHOP, spec: { clusterIP: 'None' } }), {
    addresses: [],
  });
  t.match(object({ ...CORE, kind: 'Service', metadata: SHOP, spec: { type: 'ExternalName' } }), {
    ports: [],
  });
  const slice = (more: object): unknown =>
    object({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...SHOP, labels: { 'kubernetes.io/service-name': 'beer' } },
      addressType: 'IPv4',
      ...more,
    });
  t.match(
    slice({
      ports: [
        { name: 'http', port: 8080 },
        { name: 'any', port: null },
      ],
      endpoints: [
        {
          addresses: ['10.1.0.7'],
          nodeName: 'n1',
          hints: { forZones: [{ name: 'a' }], forNodes: [{ name: 'n1' }] },
        },
        { addresses: ['10.1.0.8'], conditions: { ready: false, serving: true, terminating: true } },
        { addresses: ['10.1.0.9'], conditions: { ready: false } },
      ],
    }),
    {
      service: 'beer',
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints: [
        {
          ready: true,
          serving: true,
          terminating: false,
          nodeName: 'n1',
          hintedZones: ['a'],
          hintedNodes: ['n1'],
        },
        { ready: false, serving: true, terminating: true },
        { ready: false, serving: false, terminating: false },
      ],
    },
  );
  t.match(slice({ addressType: 'FQDN', endpoints: [{ addresses: ['db.example'] }] }), { endpoints: [] });
  t.match(slice({ ports: null, endpoints: null }), { ports: [], endpoints: [] });
  t.match(object({ ...CORE, kind: 'Namespace', metadata: { name: 'shop', labels: { team: 'a' } } }), {
    kind: 'Namespace',
    labels: { team: 'a' },
  });
  t.strictSame(
    object({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: 'kubernetes' },
      spec: { cidrs: ['10.96.0.0/12'] },
    }),
    { kind: 'ServiceCIDR', name: 'kubernetes', cidrs: ['10.96.0.0/12'] },
  );
  t.end();
});

t.test('objects: a fault names its field', (t) => {
  const pod = (more: object): string[] => faults({ ...CORE, kind: 'Pod', metadata: SHOP, ...more });
  t.strictSame(faults('text'), ['kind']);
  t.strictSame(faults({ kind: 'Pod' }), ['apiVersion']);
  t.strictSame(faults({ apiVersion: 'v1' }), ['kind']);
  t.strictSame(faults({ apiVersion: 'v2', kind: 'Pod', metadata: SHOP }), ['apiVersion']);
  t.strictSame(faults({ apiVersion: 'v1', kind: 'NetworkPolicy' }), ['apiVersion']);
  t.strictSame(faults({ apiVersion: 'extensions/v1beta1', kind: 'NetworkPolicy' }), ['apiVersion']);
  t.strictSame(faults({ apiVersion: 'networking.k8s.io/v1', kind: 'networkpolicy' }), ['kind']);
  t.strictSame(faults({ ...CORE, kind: 'Pod', metadata: {} }), ['metadata.name']);
  t.strictSame(pod({ metadata: { ...SHOP, labels: { app: 7 } } }), ['metadata.labels[app]']);
  t.strictSame(pod({ status: { podIPs: [{ ip: '010.1.0.7' }] } }), ['status.podIPs[0]']);
  t.strictSame(pod({ status: { phase: 'Done' } }), ['status.phase']);
  t.strictSame(pod({ spec: { hostNetwork: 'true' } }), ['spec.hostNetwork']);
  t.strictSame(pod({ spec: { containers: [{ ports: [{ containerPort: 0 }] }] } }), [
    'spec.containers[0].ports[0].containerPort',
  ]);
  t.strictSame(
    faults({ ...CORE, kind: 'Service', metadata: SHOP, spec: { internalTrafficPolicy: 'local' } }),
    ['spec.internalTrafficPolicy'],
  );
  t.strictSame(faults({ ...CORE, kind: 'Node', metadata: SHOP, spec: { podCIDRs: ['10.1/16'] } }), [
    'spec.podCIDRs[0]',
  ]);
  t.end();
});

t.test('objects: kinds that decide nothing, and kinds of other projects, are passed over', (t) => {
  for (const [apiVersion, kind] of [
    ['apps/v1', 'Deployment'],
    ['v1', 'ConfigMap'],
    ['v1', 'constructor'],
    ['networking.k8s.io/v1', 'Ingress'],
    ['projectcalico.org/v3', 'NetworkPolicy'],
    ['serving.knative.dev/v1', 'Service'],
    ['metrics.k8s.io/v1beta1', 'Node'],
  ]) {
    t.equal(decodeObject({ apiVersion, kind, metadata: 7 }), 'ignored', `${apiVersion} ${kind}`);
  }
  t.equal(
    readManifestText('apiVersion: v1\nkind: Secret\n---\napiVersion: v1\nkind: ConfigMap\n', 'x').ignored,
    2,
  );
  t.end();
});

t.test('objects: nothing that a file may hold makes the decoder throw', (t) => {
  const kinds = ['Namespace', 'Pod', 'Node', 'Service', 'ServiceCIDR', 'EndpointSlice', 'NetworkPolicy'];
  const apiVersions = ['v1', 'discovery.k8s.io/v1', 'networking.k8s.io/v1'];
  const keys = fc.constantFrom(
    ...[
      'metadata',
      'name',
      'namespace',
      'labels',
      'spec',
      'status',
      'containers',
      'ports',
      'port',
      'podIPs',
      'ip',
    ],
    ...[
      'endpoints',
      'addresses',
      'conditions',
      'hints',
      'forZones',
      'clusterIPs',
      'podSelector',
      'ingress',
      'from',
    ],
    ...[
      'lifecycle',
      'preStop',
      'httpGet',
      'initContainers',
      'podCIDRs',
      '__proto__',
      'matchLabels',
      'loadBalancer',
    ],
  );
  const { tree } = fc.letrec((tie) => ({
    leaf: fc.oneof(fc.constant(null), fc.string(), fc.integer(), fc.boolean(), fc.double()),
    tree: fc.oneof(
      { maxDepth: 6, withCrossShrink: true },
      tie('leaf'),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(keys, tie('tree'), { maxKeys: 5 }),
    ),
  }));
  fc.assert(
    fc.property(
      fc.constantFrom(...kinds),
      fc.constantFrom(...apiVersions),
      fc.dictionary(keys, tree),
      (kind, apiVersion, rest) => {
        const decoded = decodeObject({ ...rest, apiVersion, kind });
        if (decoded !== 'ignored' && 'problems' in decoded) t.ok(decoded.problems.length > 0);
        const text = JSON.stringify({ ...rest, apiVersion, kind });
        readManifestText(text, 'x.yaml');
        readManifestText(text, 'x.json');
      },
    ),
    { numRuns: 400 },
  );
  t.end();
});
