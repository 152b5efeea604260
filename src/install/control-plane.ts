import type { InjectSettings } from '../inject/settings.ts';
import {
  AUTHORITY,
  INJECTOR,
  type InstallObject,
  type InstallOptions,
  labelsOf,
  NAME,
  PORTS,
} from './options.ts';

const NODE = ['/usr/local/bin/node', '--disable-sigusr1'];
const BUNDLE = '/opt/countersign/bundle/countersign.cjs';

/** Deployments, Services and disruption budgets of authority and injector. */
export function controlPlaneObjects(options: InstallOptions): InstallObject[] {
  return [
    ...partOf(AUTHORITY, options, PORTS.authority, PORTS.authority, {
      memory: '128Mi',
      memoryLimit: '1Gi',
      heap: 768,
      args: authorityArguments(options),
      configMap: { name: 'countersign-federation', folder: FEDERATION_FOLDER },
    }),
    ...partOf(INJECTOR, options, 443, PORTS.injector, {
      memory: '96Mi',
      memoryLimit: '256Mi',
      heap: 160,
      args: injectorArguments(options),
    }),
  ];
}

/** Where the ConfigMap `countersign-federation` is mounted, if there is one (docs/federation.md). */
const FEDERATION_FOLDER = '/etc/countersign/federation';

function authorityArguments({ namespace, trustDomain, sidecars }: InstallOptions): string[] {
  return [
    'authority',
    `--trust-domain=${trustDomain}`,
    `--namespace=${namespace}`,
    `--names=${[`${AUTHORITY}.${namespace}.svc`, `${AUTHORITY}.${namespace}`, AUTHORITY].join(',')}`,
    `--sidecar-image=${imageName(sidecars.image)}`,
    `--audience=${sidecars.audience}`,
    `--ca-configmap=${sidecars.caConfigMap}`,
    `--federation=${FEDERATION_FOLDER}/federation.yaml`,
    `--listen=[::]:${PORTS.authority}`,
    `--metrics=[::]:${PORTS.metrics}`,
  ];
}

function injectorArguments({ namespace, sidecars }: InstallOptions): string[] {
  const s: InjectSettings = sidecars;
  return [
    'injector',
    `--namespace=${namespace}`,
    `--image=${s.image}`,
    ...(s.imagePullPolicy === undefined ? [] : [`--image-pull-policy=${s.imagePullPolicy}`]),
    `--proxy-uid=${s.proxyUid}`,
    `--authority=${s.authority}`,
    `--audience=${s.audience}`,
    `--ca-configmap=${s.caConfigMap}`,
    `--node-traffic=${s.nodeTraffic}`,
    ...(s.classic ? ['--classic'] : []),
    `--cpu-request=${s.cpuRequest}`,
    `--memory-request=${s.memoryRequest}`,
    `--memory-limit=${s.memoryLimit}`,
    `--drain=${s.drainSeconds}`,
    `--sidecar-log-level=${s.logLevel}`,
    `--listen=[::]:${PORTS.injector}`,
    `--metrics=[::]:${PORTS.metrics}`,
  ];
}

/** An image without tag and digest: a release's sidecars are believed by the next one's authority. */
export function imageName(image: string): string {
  const [bare = ''] = image.split('@', 1);
  const colon = bare.lastIndexOf(':');
  return colon > bare.lastIndexOf('/') ? bare.slice(0, colon) : bare;
}

interface Program {
  readonly args: readonly string[];
  readonly memory: string;
  readonly memoryLimit: string;
  /** Megabytes of old space. */
  readonly heap: number;
  /** A ConfigMap that need not be there, and where it is mounted. */
  readonly configMap?: { readonly name: string; readonly folder: string };
}

function partOf(
  name: string,
  { namespace, replicas, sidecars }: InstallOptions,
  servicePort: number,
  port: number,
  program: Program,
): InstallObject[] {
  const labels = labelsOf(name);
  const { configMap } = program;
  const selector = { 'app.kubernetes.io/name': name, 'app.kubernetes.io/part-of': NAME };
  const container = {
    name,
    image: sidecars.image,
    ...(sidecars.imagePullPolicy === undefined ? {} : { imagePullPolicy: sidecars.imagePullPolicy }),
    command: [...NODE, `--max-old-space-size=${program.heap}`, BUNDLE],
    args: program.args,
    ports: [
      { name: 'https', containerPort: port },
      { name: 'metrics', containerPort: PORTS.metrics },
    ],
    resources: { requests: { cpu: '50m', memory: program.memory }, limits: { memory: program.memoryLimit } },
    readinessProbe: { httpGet: { path: '/readyz', port: 'metrics' }, periodSeconds: 2 },
    livenessProbe: { httpGet: { path: '/healthz', port: 'metrics' }, periodSeconds: 10, failureThreshold: 6 },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
    },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    ...(configMap === undefined
      ? {}
      : { volumeMounts: [{ name: configMap.name, mountPath: configMap.folder, readOnly: true }] }),
  };
  const spread = (topologyKey: string): object => ({
    weight: 100,
    podAffinityTerm: { labelSelector: { matchLabels: selector }, topologyKey },
  });
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace, labels },
      spec: {
        replicas,
        revisionHistoryLimit: 3,
        selector: { matchLabels: selector },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
        template: {
          metadata: { labels: { ...labels, 'countersign.io/inject': 'false' } },
          spec: {
            serviceAccountName: name,
            priorityClassName: 'system-cluster-critical',
            terminationGracePeriodSeconds: 30,
            securityContext: {
              runAsNonRoot: true,
              runAsUser: 14_014,
              runAsGroup: 14_014,
              seccompProfile: { type: 'RuntimeDefault' },
            },
            affinity: {
              podAntiAffinity: {
                preferredDuringSchedulingIgnoredDuringExecution: [
                  spread('kubernetes.io/hostname'),
                  spread('topology.kubernetes.io/zone'),
                ],
              },
            },
            containers: [container],
            ...(configMap === undefined
              ? {}
              : { volumes: [{ name: configMap.name, configMap: { name: configMap.name, optional: true } }] }),
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels },
      spec: { selector, ports: [{ name: 'https', port: servicePort, targetPort: 'https' }] },
    },
    {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name, namespace, labels },
      // Of one replica none could ever be moved.
      spec: {
        selector: { matchLabels: selector },
        ...(replicas > 1 ? { minAvailable: 1 } : { maxUnavailable: 1 }),
      },
    },
  ];
}
