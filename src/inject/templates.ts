import type { Pod } from './pod.ts';

type Json = Record<string, unknown>;

/** Where the pod template of a workload stands. */
const TEMPLATE: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['spec', 'template'],
  StatefulSet: ['spec', 'template'],
  DaemonSet: ['spec', 'template'],
  ReplicaSet: ['spec', 'template'],
  ReplicationController: ['spec', 'template'],
  Job: ['spec', 'template'],
  CronJob: ['spec', 'jobTemplate', 'spec', 'template'],
};

/**
 * Applies a change to every pod and pod template in an object; lists (`kind: List`, as kubectl prints them) are gone through.
 *
 * @param change gets the pod, or the template as if it were one, and the namespace that the object names
 * @returns the object with what `change` returned in place
 */
export function mapPods(value: unknown, change: (pod: Pod, namespace: string, name: string) => Pod): unknown {
  if (!isObject(value)) return value;
  const kind = typeof value['kind'] === 'string' ? value['kind'] : '';
  if (kind.endsWith('List') && Array.isArray(value['items']))
    return { ...value, items: value['items'].map((item) => mapPods(item, change)) };
  const metadata = isObject(value['metadata']) ? value['metadata'] : {};
  const namespace = typeof metadata['namespace'] === 'string' ? metadata['namespace'] : 'default';
  const name = `${kind.toLowerCase()}/${typeof metadata['name'] === 'string' ? metadata['name'] : '(no name)'}`;
  if (kind === 'Pod') return change(value as Pod, namespace, name);
  const path = Object.hasOwn(TEMPLATE, kind) ? TEMPLATE[kind] : undefined;
  return path === undefined ? value : at(value, path, (template) => change(template as Pod, namespace, name));
}

function at(value: Json, [head, ...rest]: readonly string[], change: (found: Json) => unknown): Json {
  const inner = value[head!];
  if (!isObject(inner)) return value;
  return { ...value, [head!]: rest.length === 0 ? change(inner) : at(inner, rest, change) };
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
