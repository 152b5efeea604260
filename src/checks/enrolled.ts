import { NEVER_INJECTED } from '../inject/decision.ts';
import { INJECT_LABEL, PROXY_CONTAINER } from '../inject/names.ts';
import type { Container, Pod } from '../inject/pod.ts';
import type { CheckSettings, ClusterFacts } from './facts.ts';

/** Namespaces that checks are about: those that are named, else those that ask for sidecars themselves or by a pod. */
export function enrollingNamespaces(
  { namespaces, pods }: ClusterFacts,
  { enrolling, namespace }: CheckSettings,
): string[] {
  if (enrolling.length > 0) return [...new Set(enrolling)].toSorted();
  const asking = (labels: Readonly<Record<string, string>> | undefined): boolean =>
    labels?.[INJECT_LABEL] === 'true';
  const names = new Set<string>();
  for (const { metadata } of namespaces ?? []) if (asking(metadata.labels)) names.add(metadata.name);
  for (const { metadata } of pods ?? [])
    if (asking(metadata?.labels) && metadata?.namespace !== undefined) names.add(metadata.namespace);
  for (const one of [...NEVER_INJECTED, namespace]) names.delete(one);
  return [...names].toSorted();
}

/** Whether nothing of a pod runs any more, or soon. */
export function isLeaving({ metadata, status }: Pod): boolean {
  return (
    metadata?.deletionTimestamp !== undefined || status?.phase === 'Succeeded' || status?.phase === 'Failed'
  );
}

/** The sidecar of a pod, wherever it stands. */
export function sidecarOf({ spec }: Pod): Container | undefined {
  return [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].find(
    ({ name }) => name === PROXY_CONTAINER,
  );
}

/** `pod/shop/web-0`. */
export function podName({ metadata }: Pod): string {
  return `pod/${metadata?.namespace ?? 'default'}/${metadata?.name ?? '?'}`;
}

/** `shop/web-0, shop/web-1 and 5 more`. */
export function someOf(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
