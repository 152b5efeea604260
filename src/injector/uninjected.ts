import { INJECT_LABEL, PROXY_CONTAINER } from '../inject/names.ts';
import type { Pod } from '../inject/pod.ts';
import type { ApiClient } from '../kube/api-client.ts';

interface PodList {
  readonly metadata?: { readonly continue?: string };
  readonly items?: readonly Pod[];
}

const CHUNK = '500';

/**
 * Pods that ask for a sidecar and run without: made while the webhook was away with `failurePolicy: Ignore`, or before the label. They are no
 * hole, since nobody believes them, but their owner believes them protected.
 *
 * @returns their names, `shop/web-0`
 */
export async function uninjectedPods(client: ApiClient): Promise<string[]> {
  const found: string[] = [];
  let next: string | undefined;
  do {
    const list = (await client.get('/api/v1/pods', {
      labelSelector: `${INJECT_LABEL}=true`,
      limit: CHUNK,
      continue: next,
    })) as PodList;
    for (const pod of list.items ?? [])
      if (isUninjected(pod)) found.push(`${pod.metadata?.namespace}/${pod.metadata?.name}`);
    next = list.metadata?.continue === '' ? undefined : list.metadata?.continue;
  } while (next !== undefined);
  return found;
}

function isUninjected({ metadata, spec, status }: Pod): boolean {
  if (
    metadata?.deletionTimestamp !== undefined ||
    status?.phase === 'Succeeded' ||
    status?.phase === 'Failed'
  )
    return false;
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  return !containers.some(({ name }) => name === PROXY_CONTAINER);
}
