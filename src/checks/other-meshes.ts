import type { ClusterFacts } from './facts.ts';
import type { Finding } from './finding.ts';

/** Injectors of others, by the names of their webhook configurations. */
const INJECTORS: readonly { name: RegExp; mesh: string }[] = [
  { name: /^istio-(sidecar-injector|revision-tag)/, mesh: 'Istio' },
  { name: /^linkerd-proxy-injector/, mesh: 'Linkerd' },
  { name: /^consul.*connect-inject/, mesh: 'Consul' },
  { name: /^kuma-admission-mutating/, mesh: 'Kuma' },
];

/** Another mesh may live in the same cluster, never in the same pod. */
export function checkOtherMeshes({ mutatingWebhooks }: ClusterFacts): Finding[] {
  const meshes = INJECTORS.filter(({ name }) =>
    mutatingWebhooks?.some(({ metadata }) => name.test(metadata.name)),
  );
  return meshes.map(({ mesh }) => ({
    level: 'note',
    check: 'mesh',
    object: 'cluster',
    text: `${mesh} is installed; a pod with its sidecar is refused ours, and each must stay out of the other's namespaces`,
    remedy: 'docs/coexistence.md',
  }));
}
