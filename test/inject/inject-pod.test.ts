import fc from 'fast-check';
import t from 'tap';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Container, Pod, Probe } from '../../src/inject/pod.ts';
import { stripPod, uninjectPod } from '../../src/inject/uninject-pod.ts';
import { namespace, pod, SETTINGS } from './samples.ts';

/** As JSON gives it: without the prototypes that strict comparison would tell apart. */
function plain(given: Pod): Pod {
  return JSON.parse(JSON.stringify(given)) as Pod;
}

function injected(given: Pod, settings = SETTINGS, more = {}): Pod {
  const result = injectPod(given, namespace(more), settings, '1.0.0');
  if (result.outcome !== 'injected') throw new Error(JSON.stringify(result));
  return result.pod;
}

const probe: fc.Arbitrary<Probe> = fc.oneof(
  fc.record({
    tcpSocket: fc.record({ port: fc.integer({ min: 1, max: 65_535 }) }),
    periodSeconds: fc.nat(60),
  }),
  fc.record({
    httpGet: fc.record({
      path: fc.constantFrom('/', '/tcp-probe/x'),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
  }),
  fc.record({ grpc: fc.record({ port: fc.integer({ min: 1, max: 65_535 }) }) }),
  fc.record({ exec: fc.record({ command: fc.array(fc.string()) }) }),
);
const container = (prefix: string): fc.Arbitrary<Container> =>
  fc.record(
    {
      name: fc.nat(999).map((n) => `${prefix}${n}`),
      image: fc.string(),
      readinessProbe: probe,
      livenessProbe: probe,
      startupProbe: probe,
      restartPolicy: fc.constant('Always'),
    },
    { requiredKeys: ['name', 'image'] },
  );
const pods: fc.Arbitrary<Pod> = fc
  .record({
    containers: fc.array(container('app'), { minLength: 1, maxLength: 4 }),
    initContainers: fc.option(fc.array(container('init'), { minLength: 1, maxLength: 3 }), {
      nil: undefined,
    }),
    volumes: fc.option(
      fc.array(fc.record({ name: fc.nat(99).map((n) => `v${n}`), emptyDir: fc.constant({}) }), {
        minLength: 1,
      }),
      {
        nil: undefined,
      },
    ),
    annotations: fc.dictionary(fc.constantFrom('a', 'b/c', 'prometheus.io/scrape'), fc.string(), {
      maxKeys: 2,
    }),
  })
  .map(({ containers, initContainers, volumes, annotations }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'p',
      labels: { 'countersign.io/inject': 'true' },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
    spec: {
      containers,
      ...(initContainers === undefined ? {} : { initContainers }),
      ...(volumes === undefined ? {} : { volumes }),
    },
  }))
  .map(plain);

t.test(
  'injection: doing it twice changes nothing more, whichever release and kind of sidecar came first',
  (t) => {
    fc.assert(
      fc.property(pods, fc.boolean(), fc.boolean(), (given, first, second) => {
        const before = JSON.stringify(given);
        const once = injected(given, { ...SETTINGS, classic: second });
        const earlier = injectPod(
          given,
          namespace(),
          { ...SETTINGS, classic: first, image: 'old:0.9' },
          '0.9.0',
        );
        t.strictSame(injected(once, { ...SETTINGS, classic: second }), once);
        if (earlier.outcome === 'injected')
          t.strictSame(injected(earlier.pod, { ...SETTINGS, classic: second }), once, 'an upgrade in place');
        t.equal(JSON.stringify(given), before, 'the given pod is not changed');
      }),
      { numRuns: 200 },
    );
    t.end();
  },
);

t.test('injection: taking the sidecar off gives the pod back as it was', (t) => {
  fc.assert(
    fc.property(pods, (given) => {
      t.strictSame(stripPod(injected(given)), given);
      t.notOk(uninjectPod(injected(given)).metadata?.labels, 'and without the label it asks for nothing');
    }),
    { numRuns: 200 },
  );
  t.end();
});

t.test('injection: redirection and sidecar come before every other container of the pod', (t) => {
  const { spec } = injected(pod({ initContainers: [{ name: 'migrate', image: 'x' }] }));
  t.strictSame(
    spec?.initContainers?.map(({ name }) => name),
    ['countersign-redirect', 'countersign-proxy', 'migrate'],
  );
  t.equal(
    spec?.initContainers?.[1]?.restartPolicy,
    'Always',
    'native: ends after the application, and lets Jobs end',
  );
  const classic = injected(pod(), { ...SETTINGS, classic: true }).spec;
  t.strictSame(
    classic?.containers.map(({ name }) => name),
    ['web', 'countersign-proxy'],
  );
  t.notOk(classic?.containers[1]?.restartPolicy);
  t.end();
});

t.test(
  'injection: the sidecar has no capability, no privilege and a root file system that it cannot write',
  (t) => {
    const [init, proxy] = injected(pod()).spec!.initContainers!;
    t.match(proxy!.securityContext, {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsNonRoot: true,
      runAsUser: 14014,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    t.notOk(proxy!.securityContext!.capabilities!.add);
    t.match(init!.securityContext, {
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
      readOnlyRootFilesystem: true,
    });
    t.notOk(
      init!.volumeMounts!.some(({ name }) => name === 'countersign-token'),
      'the init step sees no token',
    );
    t.end();
  },
);

t.test(
  'injection: a capability for life goes to the sidecar that was granted it, everything else about it stays hardened',
  (t) => {
    const plainSidecar = injected(pod()).spec!.initContainers![1]!;
    const rows = [
      [
        'nfqueue',
        { 'countersign.io/data-path': 'nfqueue' },
        ['NET_ADMIN', 'NET_RAW'],
        ['--mode=nfqueue'],
        [
          '--mode=nfqueue',
          '--flow-state=/run/countersign/flows',
          '--identity-key=/run/countersign/identity.key',
        ],
      ],
      [
        'keep-source-address',
        { 'countersign.io/keep-source-address': 'true' },
        ['NET_RAW'],
        ['--keep-source-address'],
        ['--keep-source-address'],
      ],
    ] as const;
    for (const [grant, annotations, add, toRules, toProxy] of rows) {
      const grants = { annotations: { 'countersign.io/grants': grant } };
      const [init, proxy] = injected(pod({}, { annotations }), SETTINGS, grants).spec!.initContainers!;
      t.strictSame(proxy!.securityContext, {
        ...plainSidecar.securityContext,
        capabilities: { drop: ['ALL'], add },
      });
      for (const word of toRules) t.ok(init!.args!.includes(word), `init step: ${word}`);
      for (const word of toProxy) t.ok(proxy!.args!.includes(word), `sidecar: ${word}`);
      const granted = injected(pod(), SETTINGS, grants).spec!.initContainers![1]!;
      t.strictSame(granted, plainSidecar, 'a pod beside it that does not ask has nothing of it');
    }
    t.end();
  },
);

t.test('injection: heap and arguments follow the settings, and exclusions reach the rules', (t) => {
  const annotations = {
    'countersign.io/exclude-inbound-ports': '9090, 9091',
    'countersign.io/exclude-outbound-cidrs': '10.1.0.0/16',
  };
  const grants = { annotations: { 'countersign.io/grants': 'exclusions' } };
  const given = injected(
    pod({}, { annotations }),
    { ...SETTINGS, memoryLimit: '256Mi', proxyUid: 20_000 },
    grants,
  );
  const [init, proxy] = given.spec!.initContainers!;
  t.strictSame(init!.args, [
    'redirect',
    'apply',
    '--proxy-uid=20000',
    '--exclude-inbound-ports=9090,9091',
    '--exclude-outbound-cidrs=10.1.0.0/16',
  ]);
  t.ok(proxy!.command!.includes('--max-old-space-size=128'));
  t.equal(proxy!.securityContext!.runAsUser, 20_000);
  t.end();
});

t.test('injection: TCP probes are led to the sidecar, which knows their ports; other probes stay', (t) => {
  const probes = {
    livenessProbe: { tcpSocket: { port: 'pg' } },
    readinessProbe: { httpGet: { path: '/ready', port: 80 } },
    startupProbe: { tcpSocket: { port: 6379, host: '10.0.0.1' } },
  };
  const given = pod({
    containers: [{ name: 'db', image: 'x', ports: [{ name: 'pg', containerPort: 5432 }], ...probes }],
  });
  const { spec } = injected(given);
  t.strictSame(spec!.containers[0]!.livenessProbe, { httpGet: { path: '/tcp-probe/5432', port: 14020 } });
  t.strictSame(spec!.containers[0]!.readinessProbe, probes.readinessProbe);
  t.strictSame(spec!.containers[0]!.startupProbe, probes.startupProbe, 'of another host: not ours');
  t.ok(spec!.initContainers![1]!.args!.includes('--tcp-probes=5432'));
  t.end();
});

t.test(
  'inject: where Pod Security forbids the init step, the refusal names level, reason and command',
  (t) => {
    const levelled = (level: string) =>
      injectPod(
        pod(),
        namespace({ labels: { 'pod-security.kubernetes.io/enforce': level } }),
        SETTINGS,
        '1.0.0',
      );
    for (const level of ['baseline', 'restricted']) {
      const result = levelled(level);
      t.match(result, {
        outcome: 'refused',
        problems: [new RegExp(`${level} forbids the NET_ADMIN .*kubectl label namespace shop --overwrite`)],
      });
    }
    t.equal(levelled('privileged').outcome, 'injected');
    t.end();
  },
);
