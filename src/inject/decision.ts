import type { Pod } from './pod.ts';
import { INJECT_LABEL } from './names.ts';

/** Namespaces of the cluster itself: a broken injector must never keep them from starting. */
export const NEVER_INJECTED: readonly string[] = ['kube-system', 'kube-public', 'kube-node-lease'];

export type Decision =
  | { readonly inject: true }
  | { readonly inject: false; readonly reason: string }
  /** The pod asks for what cannot be had. */
  | { readonly inject: undefined; readonly refusal: string };

interface Namespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Whether a pod gets a sidecar: its own label, else its namespace's, else not. `docs/injection.md` has the truth table.
 *
 * A pod that asks for a sidecar by its own label and cannot have one is refused, so that nobody believes it protected; one that only lives
 * in a namespace that asks goes without, with a reason.
 */
export function decide(pod: Pod, namespace: Namespace): Decision {
  const own = pod.metadata?.labels?.[INJECT_LABEL];
  const inherited = namespace.labels[INJECT_LABEL];
  const wish = own ?? inherited;
  if (wish === undefined)
    return { inject: false, reason: `neither pod nor namespace has the label ${INJECT_LABEL}` };
  if (wish === 'false')
    return {
      inject: false,
      reason: `label ${INJECT_LABEL}=false on the ${own === undefined ? 'namespace' : 'pod'}`,
    };
  if (wish !== 'true')
    return {
      inject: undefined,
      refusal: `metadata.labels[${INJECT_LABEL}]: ${JSON.stringify(wish)} on the ${own === undefined ? 'namespace' : 'pod'} is neither "true" nor "false"`,
    };
  const obstacle = obstacleOf(pod, namespace.name);
  if (obstacle === undefined) return { inject: true };
  if (own === undefined) return { inject: false, reason: obstacle };
  return { inject: undefined, refusal: `${obstacle}; remove the label ${INJECT_LABEL} or set it to "false"` };
}

function obstacleOf(pod: Pod, namespace: string): string | undefined {
  if (NEVER_INJECTED.includes(namespace))
    return `pods of ${namespace} get no sidecar: the cluster itself depends on them`;
  if (pod.spec?.hostNetwork === true)
    return 'spec.hostNetwork: true: the pod has the network of its node, and redirecting that would redirect the node';
  if (pod.spec?.os?.name === 'windows') return 'spec.os.name: windows: the sidecar needs Linux';
  if (pod.spec?.nodeSelector?.['kubernetes.io/os'] === 'windows')
    return 'spec.nodeSelector[kubernetes.io/os]: windows: the sidecar needs Linux';
  return undefined;
}
