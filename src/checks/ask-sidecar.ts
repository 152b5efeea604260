import type { Pod } from '../inject/pod.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { ApiError } from '../kube/api-error.ts';
import { parseMetrics } from '../observe/metrics-text.ts';
import { METRICS_PORT } from '../redirect/ports.ts';
import { sidecarOf } from './enrolled.ts';
import type { Answered } from './pod-status.ts';

/**
 * Asks a sidecar how it is, through the API server's proxy to pods (`pods/proxy`): no port-forward, no shell and nothing in the pod is needed. What it
 * answers is what anybody who reaches the pod may read.
 */
export async function askSidecar(client: ApiClient, pod: Pod): Promise<Answered> {
  const { namespace = 'default', name = '' } = pod.metadata ?? {};
  if (sidecarOf(pod) === undefined) return { ready: undefined, samples: [], unreachable: undefined };
  const base = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}:${METRICS_PORT}/proxy`;
  try {
    const ready = await client.getText(`${base}/readyz`);
    const metrics = await client.getText(`${base}/metrics`);
    return {
      ready,
      samples: metrics.status === 200 ? parseMetrics(metrics.text) : [],
      unreachable: undefined,
    };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const remedy = error.status === 403 ? '; the user needs get on pods/proxy' : '';
    return { ready: undefined, samples: [], unreachable: `${error.message}${remedy}` };
  }
}
