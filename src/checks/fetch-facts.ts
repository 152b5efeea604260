import type { ApiClient } from '../kube/api-client.ts';
import { ApiError } from '../kube/api-error.ts';
import { listPages } from '../kube/list.ts';
import { CLUSTER_POLICIES, NETWORK_POLICIES, resourcePath } from '../kube/resources.ts';
import type { RawObject } from '../kube/watch-event.ts';
import type { CheckSettings, ClusterFacts, RightFact, UnseenFact } from './facts.ts';

export interface FetchOptions {
  readonly client: ApiClient;
  readonly settings: CheckSettings;
  /** Objects of an installation: what the user needs the right to make. Empty: rights are not asked about. */
  readonly installing: readonly { apiVersion: string; kind: string; metadata: { namespace?: string } }[];
  readonly signal?: AbortSignal;
}

/**
 * Looks at a cluster with the rights that the kubeconfig has. What is refused, or not there, becomes an entry of `unseen` and an undefined list; only an
 * API server that cannot be reached at all is thrown.
 */
export async function fetchFacts({
  client,
  settings,
  installing,
  signal,
}: FetchOptions): Promise<ClusterFacts> {
  const unseen: UnseenFact[] = [];
  const version = await seen('the version', async () => {
    const { gitVersion } = (await client.get('/version', {}, signal)) as { gitVersion?: unknown };
    return typeof gitVersion === 'string' ? gitVersion.slice(0, 100) : undefined;
  });

  /** undefined where it may not be seen. Sequential, so that a big cluster's API server serves one list at a time. */
  async function seen<T>(what: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) throw error;
      unseen.push({ what, why: error.message, ...(error.status === 404 ? { unknown: true as const } : {}) });
      return undefined;
    }
  }
  async function list<T>(
    path: string,
    kinds?: { apiVersion: string; kind: string },
    selector?: string,
  ): Promise<T[] | undefined> {
    return await seen(path.slice(path.lastIndexOf('/') + 1), async () => {
      let items: RawObject[] = [];
      await listPages(
        client,
        path,
        selector === undefined ? {} : { fieldSelector: selector },
        (page) => {
          if (page === 'anew') items = [];
          else items.push(...page);
        },
        signal,
      );
      return items.map((item) => ({ ...kinds, ...item })) as T[];
    });
  }
  async function policies(): Promise<object[] | undefined> {
    const all = await list<object>(resourcePath(NETWORK_POLICIES), NETWORK_POLICIES);
    if (all === undefined) return undefined;
    for (const { apiVersion, kind, ...rest } of CLUSTER_POLICIES) {
      const before = unseen.length;
      const found = await list<object>(resourcePath({ apiVersion, kind, ...rest }), { apiVersion, kind });
      if (found !== undefined) all.push(...found);
      // A kind that the cluster does not know is nothing that was overlooked.
      else if (unseen[before]?.unknown === true) unseen.splice(before, 1);
    }
    return all;
  }
  const admission = '/apis/admissionregistration.k8s.io/v1';
  return {
    version,
    namespaces: await list('/api/v1/namespaces'),
    nodes: await list('/api/v1/nodes'),
    pods: await list('/api/v1/pods'),
    policies: await policies(),
    quotas: await list('/api/v1/resourcequotas'),
    limitRanges: await list('/api/v1/limitranges'),
    daemonSets: await list('/apis/apps/v1/daemonsets'),
    deployments: await list(`/apis/apps/v1/namespaces/${settings.namespace}/deployments`),
    mutatingWebhooks: await list(`${admission}/mutatingwebhookconfigurations`),
    validatingWebhooks: await list(`${admission}/validatingwebhookconfigurations`),
    caConfigMaps: await list('/api/v1/configmaps', undefined, `metadata.name=${settings.caConfigMap}`),
    rights:
      installing.length === 0 ? undefined : await seen('rights', () => rightsFor(client, installing, signal)),
    dryRuns: [],
    unseen,
  };
}

/** Asks the API server about each right (SelfSubjectAccessReview), once per kind and namespace. */
async function rightsFor(
  client: ApiClient,
  installing: FetchOptions['installing'],
  signal: AbortSignal | undefined,
): Promise<RightFact[]> {
  const rights = new Map<string, Omit<RightFact, 'allowed'>>();
  for (const { apiVersion, kind, metadata } of installing) {
    const group = apiVersion.includes('/') ? apiVersion.split('/', 1)[0]! : '';
    const resource = `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
    const { namespace } = metadata;
    for (const verb of ['create', 'patch'])
      rights.set([verb, group, resource, namespace].join(' '), { verb, group, resource, namespace });
  }
  // Whoever makes a ClusterRole has to hold what it grants, or this.
  rights.set('escalate', {
    verb: 'escalate',
    group: 'rbac.authorization.k8s.io',
    resource: 'clusterroles',
    namespace: undefined,
  });
  const found: RightFact[] = [];
  for (const right of rights.values()) {
    const { verb, group, resource, namespace } = right;
    const resourceAttributes = { verb, group, resource, ...(namespace === undefined ? {} : { namespace }) };
    const answer = (await client.create(
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes },
      },
      signal,
    )) as { status?: { allowed?: unknown } };
    found.push({ ...right, allowed: answer.status?.allowed === true });
  }
  return found;
}
