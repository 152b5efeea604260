import { injectPod } from '../inject/inject-pod.ts';
import { INJECT_LABEL } from '../inject/names.ts';
import type { Pod } from '../inject/pod.ts';
import type { InjectSettings } from '../inject/settings.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { ApiError } from '../kube/api-error.ts';
import { sidecarOf } from './enrolled.ts';
import type { ClusterFacts, DryRunFact, LimitRangeFact, UnseenFact } from './facts.ts';
import { quantity } from './quantity.ts';

/**
 * A pod as an ordinary application is, that asks for a sidecar. It is never kept: every request says `dryRun=All`. Its own container asks for the least that the
 * namespace's limit ranges take, and no more than that: what is refused is then the sidecar's.
 */
function trialPod(namespace: string, limitRanges: readonly LimitRangeFact[]): Pod {
  const least = (resource: 'cpu' | 'memory', otherwise: string): string =>
    limitRanges
      .filter(({ metadata }) => metadata.namespace === namespace)
      .flatMap(({ spec }) => spec?.limits ?? [])
      .filter(({ type }) => type === 'Container')
      .map(({ min }) => min?.[resource])
      .reduce<string>(
        (most, one) => ((quantity(one) ?? 0) > (quantity(most) ?? 0) ? String(one) : most),
        otherwise,
      );
  const memory = least('memory', '8Mi');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'countersign-check-', namespace, labels: { [INJECT_LABEL]: 'true' } },
    spec: {
      restartPolicy: 'Never',
      automountServiceAccountToken: false,
      securityContext: { runAsNonRoot: true, runAsUser: 65_532, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'app',
          image: 'registry.k8s.io/pause:3.10',
          resources: { requests: { cpu: least('cpu', '1m'), memory }, limits: { memory } },
          securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
        },
      ],
    },
  };
}

/** Namespaces that are tried; the rest of a big cluster is told from labels alone. */
const MOST = 20;

/**
 * Shows pods to the API server that it is told not to keep, and reports what it said. Admission runs whole, Pod Security, quotas and webhooks too, and nothing
 * is left behind. The user needs the right to create pods there; without it `unseen` says so.
 *
 * @param before undefined: the injector is to put the sidecar in. Else these settings do, before the pod is shown
 */
export async function tryPods(
  client: ApiClient,
  facts: ClusterFacts,
  namespaces: readonly string[],
  before: { readonly settings: InjectSettings; readonly release: string } | undefined,
): Promise<ClusterFacts> {
  const dryRuns: DryRunFact[] = [];
  const unseen: UnseenFact[] = [...facts.unseen];
  const existing = new Set(facts.namespaces?.map(({ metadata }) => metadata.name) ?? namespaces);
  for (const namespace of namespaces.filter((one) => existing.has(one)).slice(0, MOST)) {
    let pod = trialPod(namespace, facts.limitRanges ?? []);
    if (before !== undefined) {
      const asked = { name: namespace, labels: {}, annotations: {} };
      const injected = injectPod(pod, asked, before.settings, before.release);
      if (injected.outcome !== 'injected') continue;
      ({ pod } = injected);
    }
    try {
      const answer = (await client.request('POST', `/api/v1/namespaces/${namespace}/pods`, {
        query: { dryRun: 'All' },
        body: pod,
      })) as Pod;
      const outcome = sidecarOf(answer) === undefined ? 'not-injected' : 'injected';
      dryRuns.push({ namespace, outcome, message: '' });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) throw error;
      // RBAC says «cannot create»; what refuses the pod itself speaks otherwise.
      if (error.status === 403 && /cannot create resource "pods"/.test(error.message))
        unseen.push({ what: `trial pod in ${namespace}`, why: error.message });
      else dryRuns.push({ namespace, outcome: 'refused', message: error.message });
    }
  }
  return { ...facts, dryRuns, unseen };
}
