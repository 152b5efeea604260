import type { CheckSettings, ClusterFacts } from '../../src/checks/facts.ts';
import type { Pod } from '../../src/inject/pod.ts';

export const SETTINGS: CheckSettings = {
  namespace: 'countersign-system',
  enrolling: [],
  caConfigMap: 'countersign-ca',
  cpuRequest: '10m',
  memoryRequest: '40Mi',
  memoryLimit: '128Mi',
  release: '1.4.0',
  now: Date.UTC(2026, 10, 21),
};

/** A cluster in which everything was seen, and nothing is. */
export function facts(change: Partial<ClusterFacts> = {}): ClusterFacts {
  return {
    version: 'v1.34.1',
    namespaces: [],
    nodes: [],
    pods: [],
    policies: [],
    quotas: [],
    limitRanges: [],
    daemonSets: [],
    deployments: [],
    mutatingWebhooks: [],
    validatingWebhooks: [],
    caConfigMaps: [],
    dryRuns: [],
    rights: undefined,
    unseen: [],
    ...change,
  };
}

/** A namespace that asks for sidecars. */
export function enrolled(
  name: string,
  labels: Record<string, string> = {},
  annotations: Record<string, string> = {},
) {
  return { metadata: { name, labels: { 'countersign.io/inject': 'true', ...labels }, annotations } };
}

/** A running pod, with its sidecar if `release` says of which. */
export function runningPod(namespace: string, name: string, release?: string, ready = true): Pod {
  return {
    metadata: {
      namespace,
      name,
      labels: { app: name },
      annotations: release === undefined ? {} : { 'countersign.io/injected': release },
    },
    spec: {
      containers: [{ name: 'app', image: 'x' }],
      ...(release === undefined
        ? {}
        : { initContainers: [{ name: 'countersign-proxy', image: `countersign:${release}` }] }),
    },
    status: {
      phase: 'Running',
      ...(release === undefined
        ? {}
        : {
            initContainerStatuses: [
              { name: 'countersign-proxy', ready, restartCount: 0, image: '', imageID: '' },
            ],
          }),
    },
  } as Pod;
}
