import t from 'tap';
import { injectPod } from '../../src/inject/inject-pod.ts';
import type { Pod } from '../../src/inject/pod.ts';
import { namespace, pod, SETTINGS } from './samples.ts';

const problemsOf = (given: Pod, grants = ''): string => {
  const result = injectPod(
    given,
    namespace({ annotations: { 'countersign.io/grants': grants } }),
    SETTINGS,
    '1.0.0',
  );
  return result.outcome === 'refused' ? result.problems.join('\n') : '';
};
const container = (more: object): Pod => pod({ containers: [{ name: 'web', image: 'nginx', ...more }] });

const node = (path: string): Pod => pod({ volumes: [{ name: 'node', hostPath: { path } }] });

t.test('injection: every way round the sidecar that a pod can be written with is refused, by field', (t) => {
  const rows: [what: string, given: Pod, problem: RegExp][] = [
    [
      "the proxy's user, pod",
      pod({ securityContext: { runAsUser: 14014 } }),
      /spec\.securityContext\.runAsUser: 14014/,
    ],
    [
      "the proxy's user, container",
      container({ securityContext: { runAsUser: 14014 } }),
      /containers\[0\]\.securityContext\.runAsUser/,
    ],
    [
      "the proxy's group, container",
      container({ securityContext: { runAsGroup: 14014 } }),
      /runAsGroup: 14014/,
    ],
    ["the proxy's group, pod", pod({ securityContext: { runAsGroup: 14014 } }), /runAsGroup: 14014/],
    ["the proxy's group by volumes", pod({ securityContext: { fsGroup: 14014 } }), /fsGroup: 14014/],
    [
      "the proxy's group beside",
      pod({ securityContext: { supplementalGroups: [7, 14014] } }),
      /supplementalGroups: 14014/,
    ],
    [
      "the proxy's user, init container",
      pod({ initContainers: [{ name: 'i', image: 'x', securityContext: { runAsUser: 14014 } }] }),
      /initContainers\[0\]\.securityContext\.runAsUser/,
    ],
    [
      'all capabilities',
      container({ securityContext: { capabilities: { add: ['ALL'] } } }),
      /capabilities\.add: ALL/,
    ],
    [
      'NET_ADMIN',
      container({ securityContext: { capabilities: { add: ['NET_ADMIN'] } } }),
      /capabilities\.add: NET_ADMIN/,
    ],
    [
      'NET_ADMIN by its long name',
      container({ securityContext: { capabilities: { add: ['cap_net_admin'] } } }),
      /cap_net_admin/,
    ],
    ['raw sockets', container({ securityContext: { capabilities: { add: ['NET_RAW'] } } }), /NET_RAW/],
    ['tracing', container({ securityContext: { capabilities: { add: ['SYS_PTRACE'] } } }), /SYS_PTRACE/],
    ...['SYS_RAWIO', 'DAC_READ_SEARCH', 'PERFMON', 'CAP_BPF', 'cap_Sys_Admin', 'all'].map(
      (capability): [string, Pod, RegExp] => [
        capability,
        container({ securityContext: { capabilities: { drop: ['ALL'], add: [capability] } } }),
        new RegExp(`capabilities\\.add: ${capability} `),
      ],
    ),
    ...[
      '/',
      '//',
      '/var',
      '/var/lib/kubelet',
      '/var/lib//kubelet/./pods',
      '/var/lib/../lib/kubelet/pods/',
      '/run',
    ].map((path): [string, Pod, RegExp] => [
      path,
      node(path),
      /volumes\[0\]\.hostPath\.path: .* holds the files of other/,
    ]),
    ...['/var/run/', '/var/run/containerd/containerd.sock', '/run/docker.sock', '/proc/sys', 'proc'].map(
      (path): [string, Pod, RegExp] => [
        path,
        node(path),
        /volumes\[0\]\.hostPath\.path: .* grant «privileged»/,
      ],
    ),
    ['privileged', container({ securityContext: { privileged: true } }), /privileged: true/],
    ['a shared process namespace', pod({ shareProcessNamespace: true }), /shareProcessNamespace/],
    ["the node's processes", pod({ hostPID: true }), /hostPID/],
    [
      'our container name',
      container({ name: 'countersign-proxy' }),
      /countersign-proxy is a name of the sidecar's own/,
    ],
    [
      'our volume name',
      pod({ volumes: [{ name: 'countersign-run', emptyDir: {} }] }),
      /volumes\[0\]\.name: countersign-run/,
    ],
    [
      'our volume mounted',
      container({ volumeMounts: [{ name: 'countersign-run', mountPath: '/x' }] }),
      /volumeMounts\[0\]: countersign-run/,
    ],
    [
      'our token mounted',
      container({ volumeMounts: [{ name: 'countersign-token', mountPath: '/x' }] }),
      /volumeMounts\[0\]: countersign-token/,
    ],
    [
      'a token for the authority',
      pod({
        volumes: [
          {
            name: 'x',
            projected: {
              sources: [{ serviceAccountToken: { audience: 'countersign-authority', path: 't' } }],
            },
          },
        ],
      }),
      /volumes\[0\]\.projected: a token for countersign-authority/,
    ],
    [
      'our port',
      container({ ports: [{ containerPort: 14020 }] }),
      /containerPort: 14020 is the sidecar's own/,
    ],
    [
      'a reserved label',
      pod({}, { labels: { 'identity.countersign.io/image': 'x' } }),
      /labels under identity\.countersign\.io/,
    ],
    ['Istio beside us', container({ name: 'istio-proxy' }), /istio-proxy is Istio's/],
    [
      'Linkerd beside us',
      pod({ initContainers: [{ name: 'linkerd-init', image: 'x' }] }),
      /linkerd-init is Linkerd's/,
    ],
  ];
  for (const [what, given, problem] of rows) t.match(problemsOf(given), problem, what);
  t.end();
});

t.test(
  'injection: names of ours that no injector has marked are refused, and a mark does not help what is not ours',
  (t) => {
    const forged = { name: 'countersign-proxy', image: 'evil', args: ['proxy', '--enforcement=audit'] };
    t.match(problemsOf(pod({ initContainers: [forged] })), /is a name of the sidecar's own/);
    const marked = pod({ initContainers: [forged] }, { annotations: { 'countersign.io/injected': '1.0.0' } });
    const result = injectPod(marked, namespace(), SETTINGS, '1.0.0');
    t.strictSame(
      result,
      injectPod(pod(), namespace(), SETTINGS, '1.0.0'),
      'whoever marks it himself gets our sidecar in its place',
    );
    t.end();
  },
);

t.test('injection: a pod may ask for less than all only where its namespace grants it', (t) => {
  const rows: [grant: string, annotations: Record<string, string>][] = [
    ['exclusions', { 'countersign.io/exclude-inbound-ports': '9090' }],
    ['exclusions', { 'countersign.io/exclude-outbound-ports': '25, 465' }],
    ['exclusions', { 'countersign.io/exclude-outbound-cidrs': '10.0.0.0/8' }],
    ['audit', { 'countersign.io/mode': 'audit' }],
    ['nfqueue', { 'countersign.io/data-path': 'nfqueue' }],
    ['keep-source-address', { 'countersign.io/keep-source-address': 'true' }],
  ];
  for (const [grant, annotations] of rows) {
    const given = pod({}, { annotations });
    t.match(problemsOf(given), `countersign.io/grants=${grant}`, `${grant}: not granted`);
    t.equal(problemsOf(given, `audit2, ${grant}`).includes('only where'), false, `${grant}: granted`);
    t.equal(problemsOf(given, grant), '', `${grant}: granted alone`);
  }
  const both = { 'countersign.io/keep-source-address': 'true', 'countersign.io/data-path': 'nfqueue' };
  t.match(
    problemsOf(pod({}, { annotations: both }), 'nfqueue, keep-source-address'),
    /keep-source-address: belongs to countersign.io\/data-path: redirect/,
  );
  t.match(
    problemsOf(pod({}, { labels: { 'countersign.io/mode': 'audit' } })),
    /grants=audit/,
    'a label asks like an annotation',
  );
  t.equal(problemsOf(node('/var/lib/kubelet'), 'privileged'), '');
  for (const path of [
    '/var/log',
    '/data',
    '/etc/localtime',
    '/run/udev',
    '/var/lib/kubelet-of-mine',
    '/lib/modules',
  ])
    t.equal(problemsOf(node(path)), '', `${path}: holds no pods`);
  t.equal(problemsOf(container({ name: 'constructor' })), '', 'a lawful name');
  const admin = container({ securityContext: { capabilities: { add: ['NET_ADMIN'] } } });
  t.equal(problemsOf(admin, 'privileged'), '');
  t.match(
    problemsOf(container({ securityContext: { runAsUser: 14014 } }), 'privileged'),
    /14014/,
    "the proxy's user is never granted",
  );
  t.end();
});

t.test('injection: what cannot be read is refused, with the value and what to write', (t) => {
  const rows: [annotations: Record<string, string>, problem: RegExp][] = [
    [{ 'countersign.io/exclude-inbound-ports': '0' }, /"0" is no port/],
    [{ 'countersign.io/exclude-inbound-ports': '80;90' }, /"80;90" is no port/],
    [{ 'countersign.io/exclude-outbound-ports': '70000' }, /"70000" is no port/],
    [{ 'countersign.io/exclude-outbound-cidrs': '10.0.0.0/33' }, /is no network/],
    [{ 'countersign.io/exclude-outbound-cidrs': '--proxy-uid=0' }, /is no network/],
    [
      { 'countersign.io/exclude-outbound-ports': Array.from({ length: 65 }, () => '1').join(',') },
      /more than 64/,
    ],
    [{ 'countersign.io/data-path': 'fast' }, /none of redirect, nfqueue/],
    [{ 'countersign.io/keep-source-address': 'yes' }, /none of true, false/],
    [{ 'countersign.io/mode': 'off' }, /none of enforce, audit/],
  ];
  for (const [annotations, problem] of rows)
    t.match(problemsOf(pod({}, { annotations }), 'exclusions,nfqueue,audit'), problem);
  t.match(problemsOf(pod(), 'exclusion'), /"exclusion" is none of/, 'a misspelt grant');
  t.end();
});
