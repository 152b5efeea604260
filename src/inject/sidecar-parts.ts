import type { Container, Volume } from './pod.ts';
import { METRICS_PORT } from '../redirect/ports.ts';
import { CAPABILITY_GRANTS, type Wishes } from './grants.ts';
import {
  CA_FOLDER,
  CA_VOLUME,
  INIT_CONTAINER,
  PROXY_CONTAINER,
  RUN_FOLDER,
  RUN_VOLUME,
  TOKEN_FOLDER,
  TOKEN_VOLUME,
} from './names.ts';
import { heapMegabytes, type InjectSettings } from './settings.ts';

const NODE = '/usr/local/bin/node';
const BUNDLE = '/opt/countersign/bundle/sidecar.cjs';
/** Kubelet renews the token at four fifths of this. */
const TOKEN_SECONDS = 3_600;

/** Answered when the sidecar is ready, not a second later; a little less than kubelet waits, so that what is missing is told. */
const STARTUP_PROBE = {
  httpGet: { path: '/readyz?wait=4', port: METRICS_PORT },
  timeoutSeconds: 5,
  periodSeconds: 1,
  failureThreshold: 120,
};

/**
 * With which flags of Node.js a sidecar runs: starting needs memory that running does not, and a small young generation keeps it small; so does one thread of V8
 * for compiling and collecting instead of four, which cost 0.4 MB.
 */
export const nodeFlags = (memoryLimit: string): string[] => [
  '--disable-sigusr1',
  '--max-semi-space-size=1',
  '--v8-pool-size=1',
  `--max-old-space-size=${heapMegabytes(memoryLimit)}`,
];

/** The init step: puts the redirection in force before anything else in the pod runs, and ends. */
export function initContainer(settings: InjectSettings, wishes: Wishes): Container {
  const exclusions = [
    ['--exclude-inbound-ports', wishes.excludeInboundPorts],
    ['--exclude-outbound-ports', wishes.excludeOutboundPorts],
    ['--exclude-outbound-cidrs', wishes.excludeOutboundCidrs],
  ] as const;
  return {
    name: INIT_CONTAINER,
    image: settings.image,
    ...pullPolicy(settings),
    command: [NODE, '--max-semi-space-size=1', BUNDLE],
    args: [
      'redirect',
      'apply',
      `--proxy-uid=${settings.proxyUid}`,
      ...(wishes.nfqueue ? ['--mode=nfqueue'] : []),
      ...(wishes.keepSourceAddress ? ['--keep-source-address'] : []),
      ...exclusions.flatMap(([flag, values]) => (values.length === 0 ? [] : [`${flag}=${values.join(',')}`])),
    ],
    // iptables locks a file; the root file system is read-only.
    env: [{ name: 'XTABLES_LOCKFILE', value: `${RUN_FOLDER}/xtables.lock` }],
    resources: {
      requests: { cpu: settings.cpuRequest, memory: settings.memoryRequest },
      limits: { memory: settings.memoryLimit },
    },
    securityContext: {
      allowPrivilegeEscalation: false,
      // NET_RAW is for iptables-legacy, whose every question is asked on a raw socket.
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [{ name: RUN_VOLUME, mountPath: RUN_FOLDER }],
  };
}

/** The sidecar: native (KEP-753) unless the settings say otherwise. */
export function proxyContainer(
  settings: InjectSettings,
  wishes: Wishes,
  tcpProbes: readonly number[],
): Container {
  const add = capabilitiesFor(wishes);
  const health = { httpGet: { path: '/readyz', port: METRICS_PORT } };
  return {
    name: PROXY_CONTAINER,
    image: settings.image,
    ...pullPolicy(settings),
    ...(settings.classic ? {} : { restartPolicy: 'Always' }),
    command: [NODE, ...nodeFlags(settings.memoryLimit), BUNDLE],
    args: proxyArguments(settings, wishes, tcpProbes),
    env: [
      { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
      { name: 'POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
    ],
    ports: [{ name: 'countersign', containerPort: METRICS_PORT, protocol: 'TCP' }],
    resources: {
      requests: { cpu: settings.cpuRequest, memory: settings.memoryRequest },
      limits: { memory: settings.memoryLimit },
    },
    securityContext: {
      // Even with capabilities: the container runtime has them when it starts the program, so that its file gains none (decision 42).
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'], ...(add.length > 0 ? { add } : {}) },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: settings.proxyUid,
      runAsNonRoot: true,
      runAsUser: settings.proxyUid,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(settings.classic ? {} : { startupProbe: STARTUP_PROBE }),
    readinessProbe: { ...health, periodSeconds: 5, failureThreshold: 2 },
    livenessProbe: {
      httpGet: { path: '/healthz', port: METRICS_PORT },
      periodSeconds: 10,
      failureThreshold: 6,
    },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [
      { name: RUN_VOLUME, mountPath: RUN_FOLDER },
      { name: TOKEN_VOLUME, mountPath: TOKEN_FOLDER, readOnly: true },
      { name: CA_VOLUME, mountPath: CA_FOLDER, readOnly: true },
    ],
  };
}

/** What the sidecar's own container is allowed for its life; nothing for who asks for nothing. */
function capabilitiesFor({ nfqueue, keepSourceAddress }: Wishes): string[] {
  const asked = { nfqueue, 'keep-source-address': keepSourceAddress };
  return CAPABILITY_GRANTS.filter(({ grant }) => asked[grant]).flatMap(({ capabilities }) => capabilities);
}

function proxyArguments(settings: InjectSettings, wishes: Wishes, tcpProbes: readonly number[]): string[] {
  return [
    'proxy',
    '--source=authority',
    `--authority=${settings.authority}`,
    `--authority-ca=${CA_FOLDER}/ca.pem`,
    `--service-account-token=${TOKEN_FOLDER}/token`,
    '--pod=$(POD_NAMESPACE)/$(POD_NAME)',
    `--admin-socket=${RUN_FOLDER}/admin.sock`,
    `--node-traffic=${settings.nodeTraffic}`,
    `--drain=${settings.drainSeconds}`,
    `--log-level=${settings.logLevel}`,
    ...(wishes.nfqueue
      ? ['--mode=nfqueue', `--flow-state=${RUN_FOLDER}/flows`, `--identity-key=${RUN_FOLDER}/identity.key`]
      : []),
    ...(wishes.keepSourceAddress ? ['--keep-source-address'] : []),
    ...(tcpProbes.length === 0 ? [] : [`--tcp-probes=${tcpProbes.join(',')}`]),
  ];
}

/** What the sidecar reads and keeps. Nothing of it reaches a disk: keys live in memory alone. */
export function ownVolumes(settings: InjectSettings): Volume[] {
  return [
    { name: RUN_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
    {
      name: TOKEN_VOLUME,
      projected: {
        defaultMode: 0o444,
        sources: [
          {
            serviceAccountToken: {
              audience: settings.audience,
              expirationSeconds: TOKEN_SECONDS,
              path: 'token',
            },
          },
        ],
      },
    },
    { name: CA_VOLUME, configMap: { name: settings.caConfigMap, defaultMode: 0o444, optional: true } },
  ];
}

function pullPolicy({ imagePullPolicy }: InjectSettings): Pick<Container, 'imagePullPolicy'> {
  return imagePullPolicy === undefined ? {} : { imagePullPolicy };
}
