import type { NetworkPolicy, PolicyPeer } from '../../policy/model.ts';
import { compileSelector, selectorMatches } from '../../policy/selector.ts';
import type { Inventory } from '../../workloads/inventory.ts';
import type { Workload } from '../../workloads/workload.ts';

/** The pods that a policy selects. */
export function selectedBy(policy: NetworkPolicy, pods: readonly Workload[]): Workload[] {
  const selector = compileSelector(policy.podSelector);
  return pods.filter((pod) => pod.namespace === policy.namespace && selectorMatches(selector, pod.labels));
}

/** The pods that an entry with selectors names. */
export function namedBy(
  peer: PolicyPeer & { readonly kind: 'pods' },
  namespace: string,
  pods: readonly Workload[],
  { namespaces }: Inventory,
): Workload[] {
  const { podSelector, namespaceSelector } = peer;
  const wantedPods = podSelector === undefined ? undefined : compileSelector(podSelector);
  const wantedNamespaces = namespaceSelector === undefined ? undefined : compileSelector(namespaceSelector);
  return pods.filter((pod) => {
    if (wantedPods !== undefined && !selectorMatches(wantedPods, pod.labels)) return false;
    if (wantedNamespaces === undefined) return pod.namespace === namespace;
    const labels = namespaces.get(pod.namespace)?.labels ?? {};
    return selectorMatches(wantedNamespaces, labels, pod.namespace);
  });
}
