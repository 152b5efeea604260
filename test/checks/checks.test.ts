import fc from 'fast-check';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import type { ClusterFacts } from '../../src/checks/facts.ts';
import { sortFindings } from '../../src/checks/finding.ts';
import { quantity } from '../../src/checks/quantity.ts';
import { findingsText } from '../../src/checks/report.ts';
import { runChecks } from '../../src/checks/run-checks.ts';
import { compareVersions, imageTag, minorsBetween, versionNumber } from '../../src/checks/version-number.ts';
import { makeCertificateAuthority } from '../../src/certificates/certificate-authority.ts';
import { enrolled, facts, runningPod, SETTINGS } from './samples.ts';

/** What the checks say but for what is in order, as `level check object`. */
const said = (change: Partial<ClusterFacts>, pre = true, settings = SETTINGS): string[] =>
  runChecks(facts(change), settings, pre)
    .filter(({ level, check }) => level !== 'ok' && check !== 'not-knowable')
    .map(({ level, check, object }) => `${level} ${check} ${object}`);
const CNI = { daemonSets: [{ metadata: { namespace: 'kube-system', name: 'calico-node' } }] };

const ROWS: readonly (readonly [string, Partial<ClusterFacts>, readonly string[]])[] = [
  ['nothing is wrong with a fresh, current cluster', {}, []],
  ['an API server before 1.29', { version: 'v1.28.9' }, ['error kubernetes-version cluster']],
  ['an API server that says its provider', { version: 'v1.29.0-gke.1' }, ['warning webhook-reach cluster']],
  [
    'a kubelet before 1.29',
    { nodes: [{ metadata: { name: 'old' }, status: { nodeInfo: { kubeletVersion: 'v1.27.1' } } }] },
    ['error kubernetes-version node/old'],
  ],
  [
    'Pod Security restricted where sidecars are asked for',
    { namespaces: [enrolled('shop', { 'pod-security.kubernetes.io/enforce': 'restricted' })] },
    ['error pod-security namespace/shop'],
  ],
  [
    'Pod Security that only warns',
    { namespaces: [enrolled('shop', { 'pod-security.kubernetes.io/warn': 'restricted' })] },
    [],
  ],
  [
    'Pod Security where nobody asks for sidecars',
    {
      namespaces: [
        { metadata: { name: 'shop', labels: { 'pod-security.kubernetes.io/enforce': 'baseline' } } },
      ],
    },
    [],
  ],
  [
    'a misspelt grant',
    { namespaces: [enrolled('shop', {}, { 'countersign.io/grants': 'audit,exclusion' })] },
    ['error grants namespace/shop'],
  ],
  [
    'grants by which sidecars keep capabilities, where Pod Security warns',
    {
      namespaces: [
        enrolled(
          'shop',
          { 'pod-security.kubernetes.io/warn': 'baseline' },
          { 'countersign.io/grants': 'nfqueue,audit,keep-source-address' },
        ),
      ],
    },
    ['note grants namespace/shop', 'note grants namespace/shop'],
  ],
  [
    'the same grants where nobody asks for sidecars',
    {
      namespaces: [{ metadata: { name: 'shop', annotations: { 'countersign.io/grants': 'nfqueue' } } }],
    },
    [],
  ],
  [
    'a label that is neither true nor false',
    { namespaces: [enrolled('shop', { 'countersign.io/inject': 'yes' })] },
    ['error label namespace/shop'],
  ],
  [
    'a namespace of Istio and ours',
    { namespaces: [enrolled('shop', { 'istio-injection': 'enabled' })] },
    ['error mesh namespace/shop'],
  ],
  [
    'a namespace of Linkerd and ours',
    { namespaces: [enrolled('shop', {}, { 'linkerd.io/inject': 'enabled' })] },
    ['error mesh namespace/shop'],
  ],
  [
    'another mesh in the cluster',
    { mutatingWebhooks: [{ metadata: { name: 'linkerd-proxy-injector-webhook-config' } }] },
    ['note mesh cluster'],
  ],
  [
    'a quota without room for a single sidecar',
    {
      namespaces: [enrolled('shop')],
      quotas: [
        {
          metadata: { namespace: 'shop', name: 'q' },
          status: { hard: { 'requests.memory': '1Gi' }, used: { 'requests.memory': '1000Mi' } },
        },
      ],
    },
    ['error quota resourcequota/shop/q'],
  ],
  [
    'a quota with room for one sidecar and not for all',
    {
      namespaces: [enrolled('shop')],
      pods: [runningPod('shop', 'a', '1.4.0'), runningPod('shop', 'b', '1.4.0')],
      quotas: [
        {
          metadata: { namespace: 'shop', name: 'q' },
          status: { hard: { 'requests.cpu': '1' }, used: { 'requests.cpu': '985m' } },
        },
      ],
    },
    ['warning quota resourcequota/shop/q'],
  ],
  [
    'a quota of CPU limits',
    {
      namespaces: [enrolled('shop')],
      quotas: [{ metadata: { namespace: 'shop', name: 'q' }, status: { hard: { 'limits.cpu': '10' } } }],
    },
    ['error quota resourcequota/shop/q'],
  ],
  [
    'a limit range below the sidecar',
    {
      namespaces: [enrolled('shop')],
      limitRanges: [
        {
          metadata: { namespace: 'shop', name: 'l' },
          spec: { limits: [{ type: 'Container', max: { memory: '64Mi' } }] },
        },
      ],
    },
    ['error limit-range limitrange/shop/l'],
  ],
  [
    'a right that is missing',
    { rights: [{ verb: 'create', group: '', resource: 'namespaces', namespace: undefined, allowed: false }] },
    ['error rights cluster'],
  ],
  [
    'something that could not be seen',
    { pods: undefined, unseen: [{ what: 'pods', why: 'forbidden' }] },
    ['note not-seen pods'],
  ],
  [
    'a pod that the API server refuses',
    { dryRuns: [{ namespace: 'shop', outcome: 'refused', message: 'violates PodSecurity' }] },
    ['error trial namespace/shop'],
  ],
];

for (const [subject, change, expected] of ROWS) {
  t.test(`check --pre: ${subject}`, (t) => {
    t.strictSame(said({ ...CNI, ...change }), expected);
    t.end();
  });
}

t.test('check --pre: a plugin that does not enforce, or none that is known, is a warning', (t) => {
  t.strictSame(said({}), ['warning network-plugin cluster']);
  t.strictSame(said({ daemonSets: [{ metadata: { name: 'kube-flannel-ds' } }] }), [
    'warning network-plugin cluster',
    'note network-plugin cluster',
  ]);
  t.strictSame(said({ daemonSets: undefined }), [], 'nothing is concluded from what was not seen');
  t.end();
});

t.test('check --pre: it says what nobody can know from outside', (t) => {
  const found = runChecks(facts(), SETTINGS, true).find(({ check }) => check === 'not-knowable');
  t.match(found?.text, /tcp_fastopen/);
  t.end();
});

/** What is looked at after an installation, in a cluster where all is well. */
async function installed(): Promise<ClusterFacts> {
  const { certificate } = await makeCertificateAuthority('countersign', SETTINGS.now / 1000 - 100);
  const caBundle = Buffer.from(certificate).toString('base64');
  const configuration = {
    metadata: { name: 'countersign' },
    webhooks: [{ name: 'a', failurePolicy: 'Fail', clientConfig: { caBundle } }],
  };
  const deployment = (name: string) => ({
    metadata: { name },
    spec: { replicas: 2, template: { spec: { containers: [{ name, image: 'countersign:1.4.0' }] } } },
    status: { readyReplicas: 2 },
  });
  const copy = (namespace: string) => ({
    metadata: { name: 'countersign-ca', namespace },
    data: { 'ca.pem': certificate },
  });
  return facts({
    ...CNI,
    namespaces: [enrolled('shop')],
    pods: [runningPod('shop', 'web', '1.4.0')],
    deployments: [deployment('countersign-authority'), deployment('countersign-injector')],
    mutatingWebhooks: [configuration],
    validatingWebhooks: [configuration],
    caConfigMaps: [copy('countersign-system'), copy('shop')],
    dryRuns: [{ namespace: 'shop', outcome: 'injected', message: '' }],
  });
}

t.test('check: a sound installation has nothing but what is in order', async (t) => {
  const findings = runChecks(await installed(), SETTINGS, false);
  t.strictSame(
    findings.filter(({ level }) => level !== 'ok'),
    [],
  );
  t.ok(findings.length >= 6);
});

t.test('check: each thing that is taken from a sound installation is found, and where', async (t) => {
  const sound = await installed();
  const [authority, injector] = sound.deployments!;
  const [configuration] = sound.mutatingWebhooks!;
  const { certificate: other } = await makeCertificateAuthority('countersign', SETTINGS.now / 1000 - 50);
  const withBundle = (caBundle: string) => [
    { ...configuration!, webhooks: [{ ...configuration!.webhooks![0]!, clientConfig: { caBundle } }] },
  ];
  const rows: readonly (readonly [string, Partial<ClusterFacts>, readonly string[]])[] = [
    [
      'no injector',
      { deployments: [authority!] },
      ['error control-plane deployment/countersign-system/countersign-injector'],
    ],
    [
      'half of the authority',
      { deployments: [{ ...authority!, status: { readyReplicas: 1 } }, injector!] },
      ['warning control-plane deployment/countersign-system/countersign-authority'],
    ],
    [
      'the webhook configuration',
      { mutatingWebhooks: [] },
      ['error webhooks mutatingwebhookconfiguration/countersign'],
    ],
    [
      'caBundle',
      { mutatingWebhooks: withBundle('') },
      ['error webhooks mutatingwebhookconfiguration/countersign', 'warning webhooks cluster'],
    ],
    [
      'caBundle of somebody else',
      { mutatingWebhooks: withBundle(Buffer.from(other).toString('base64')) },
      ['warning webhooks cluster'],
    ],
    [
      'the copy of the certificates',
      { caConfigMaps: sound.caConfigMaps!.slice(0, 1) },
      ['error certificates configmap/shop/countersign-ca'],
    ],
    [
      'the certificates themselves',
      { caConfigMaps: [] },
      ['error certificates configmap/countersign-system/countersign-ca'],
    ],
    ['a sidecar', { pods: [runningPod('shop', 'web')] }, ['error sidecars pod/shop/web']],
    ['readiness', { pods: [runningPod('shop', 'web', '1.4.0', false)] }, ['error sidecars pod/shop/web']],
    ['a release', { pods: [runningPod('shop', 'web', '1.3.9')] }, ['note version cluster']],
    ['two releases', { pods: [runningPod('shop', 'web', '1.2.0')] }, ['warning version cluster']],
    [
      'the way to the injector',
      { dryRuns: [{ namespace: 'shop', outcome: 'refused', message: 'failed calling webhook' }] },
      ['error injection namespace/shop'],
    ],
    [
      'the webhook of the API server',
      { dryRuns: [{ namespace: 'shop', outcome: 'not-injected', message: '' }] },
      ['error injection namespace/shop'],
    ],
  ];
  for (const [what, change, expected] of rows)
    t.strictSame(said({ ...sound, ...change }, false), expected, what);
  const late = { ...SETTINGS, now: SETTINGS.now + 3_600_000 * 24 * 36_500 };
  const found = said(sound, false, late);
  t.ok(found.includes('error webhooks mutatingwebhookconfiguration/countersign'), 'certificates that ended');
  t.ok(found.includes('error certificates configmap/countersign-system/countersign-ca'));
});

t.test('check: findings come worst first, and the text is one line each, whatever a name holds', (t) => {
  const findings = sortFindings([
    { level: 'ok', check: 'b', object: 'cluster', text: 'fine' },
    { level: 'error', check: 'a', object: 'pod/x/\u001b[2J\nerror', text: 'bad\u202e', remedy: 'mend' },
  ]);
  t.equal(findings[0]!.level, 'error');
  const text = findingsText(findings);
  for (const unprintable of ['\u001b', '\u202e']) t.notOk(text.includes(unprintable));
  t.equal(text.trimEnd().split('\n').length, 4);
  t.match(text, /1 error, 0 warnings, 0 notes, 1 in order/);
  t.end();
});

t.test('check: an object to apply stands in the text as YAML that reads back', (t) => {
  const apply = { kind: 'NetworkPolicy', metadata: { name: 'x' } };
  const text = findingsText([{ level: 'error', check: 'egress', object: 'cluster', text: 'cut', apply }]);
  const yaml = text
    .split('\n')
    .filter((line) => line.startsWith('          '))
    .map((line) => line.slice(10))
    .join('\n');
  t.strictSame(parseAllDocuments(yaml)[0]!.toJS(), apply);
  t.end();
});

t.test('quantity: numbers of the API, by table; anything else is none', (t) => {
  for (const [text, number] of [
    ['100m', 0.1],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['2e3', 2_000],
    ['1E', 1e18],
    ['.5', 0.5],
    ['0', 0],
    ['250k', 250_000],
  ] as const)
    t.equal(quantity(text), number, text);
  for (const text of ['', 'a', '1 Gi', '1gi', undefined]) t.equal(quantity(text), undefined);
  fc.assert(
    fc.property(fc.string(), (text) => quantity(text) === undefined || Number.isFinite(quantity(text))),
  );
  t.end();
});

t.test('version: numbers, their order and their distance', (t) => {
  t.strictSame(versionNumber('v1.34.1-gke.100'), { major: 1, minor: 34, patch: 1 });
  t.equal(versionNumber('latest'), undefined);
  t.ok(compareVersions(versionNumber('1.9.0')!, versionNumber('1.10.0')!) < 0);
  t.equal(minorsBetween(versionNumber('1.9.0')!, versionNumber('1.10.3')!), -1);
  t.ok(Math.abs(minorsBetween(versionNumber('2.0.0')!, versionNumber('1.99.0')!)) > 1);
  t.equal(imageTag('registry.example:5000/a:1.2'), '1.2');
  t.equal(imageTag('registry.example:5000/a'), undefined);
  t.equal(imageTag('a:1.2@sha256:0'), '1.2');
  t.end();
});
