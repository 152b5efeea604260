import { INJECT_LABEL, PROXY_CONTAINER } from '../inject/names.ts';
import type { Pod } from '../inject/pod.ts';
import type { ApiClient } from '../kube/api-client.ts';

interface PodList {
  readonly metadata?: { readonly continue?: string };
  readonly items?: readonly Pod[];
}

const CHUNK = '500';

/** What the pods that ask for a sidecar are like. */
export interface AskingPods {
  /**
   * Those that run without one, `shop/web-0`: made while the webhook was away with `failurePolicy: Ignore`, or before the label. They are no
   * hole, since nobody believes them, but their owner believes them protected.
   */
  readonly uninjected: readonly string[];
  /** Namespaces of those that have one, wherever it was put there. */
  readonly enrolled: ReadonlySet<string>;
}

/** Looks at all pods that ask for a sidecar, and live. */
export async function askingPods(client: ApiClient): Promise<AskingPods> {
  const uninjected: string[] = [];
  const enrolled = new Set<string>();
  let next: string | undefined;
  do {
    const list = (await client.get('/api/v1/pods', {
      labelSelector: `${INJECT_LABEL}=true`,
      limit: CHUNK,
      continue: next,
    })) as PodList;
    for (const pod of list.items ?? []) {
      const { namespace = '', name } = pod.metadata ?? {};
      if (isLeaving(pod)) continue;
      if (hasSidecar(pod)) enrolled.add(namespace);
      else uninjected.push(`${namespace}/${name}`);
    }
    next = list.metadata?.continue === '' ? undefined : list.metadata?.continue;
  } while (next !== undefined);
  return { uninjected, enrolled };
}

function isLeaving({ metadata, status }: Pod): boolean {
  return (
    metadata?.deletionTimestamp !== undefined || status?.phase === 'Succeeded' || status?.phase === 'Failed'
  );
}

function hasSidecar({ spec }: Pod): boolean {
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])];
  return containers.some(({ name }) => name === PROXY_CONTAINER);
}
