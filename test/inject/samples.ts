import type { InjectNamespace } from '../../src/inject/inject-pod.ts';
import type { Pod } from '../../src/inject/pod.ts';
import { DEFAULT_SETTINGS, type InjectSettings } from '../../src/inject/settings.ts';

export const SETTINGS: InjectSettings = {
  ...DEFAULT_SETTINGS,
  image: 'registry.example/countersign:1.0.0',
  authority: 'https://countersign-authority.countersign-system.svc:14443',
};

/** A namespace with nothing said about it, unless `more` says it. */
export function namespace(more: Partial<InjectNamespace> = {}): InjectNamespace {
  return { name: 'shop', labels: {}, annotations: {}, ...more };
}

/** A pod that asks for a sidecar. */
export function pod(spec: Partial<NonNullable<Pod['spec']>> = {}, metadata: Pod['metadata'] = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web-0',
      namespace: 'shop',
      ...metadata,
      labels: { app: 'web', 'countersign.io/inject': 'true', ...metadata.labels },
    },
    spec: { containers: [{ name: 'web', image: 'nginx' }], ...spec },
  };
}
