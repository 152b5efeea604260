import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { NetworkPolicy } from '../policy/model.ts';
import type { ClusterObject, NamespaceObject } from './objects.ts';
import type { NodeObject, ServiceCidrObject } from './objects-node.ts';
import type { PodObject } from './objects-pod.ts';
import type { EndpointSliceObject, ServiceObject } from './objects-service.ts';

/** Objects by kind, each named once. */
export interface ClusterContents {
  readonly namespaces: readonly NamespaceObject[];
  readonly pods: readonly PodObject[];
  readonly nodes: readonly NodeObject[];
  readonly services: readonly ServiceObject[];
  readonly serviceCidrs: readonly ServiceCidrObject[];
  readonly slices: readonly EndpointSliceObject[];
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
  /** Objects that were there under the same name before: the first one counts. */
  readonly duplicates: readonly string[];
}

/** What became of one object. */
export interface ObjectChange {
  /** Of the object, and of no other one. */
  readonly name: string;
  /** undefined: it was not there. */
  readonly before: ClusterObject | undefined;
  /** undefined: it is no more. */
  readonly after: ClusterObject | undefined;
}

/** Sorts objects by kind. Of two with one name the first counts. Pure. */
export function contentsOf(objects: readonly ClusterObject[]): ClusterContents {
  const seen = new Set<string>();
  const duplicates: string[] = [];
  const unique = objects.filter((object) => {
    const name = objectName(object);
    if (!seen.has(name)) return Boolean(seen.add(name));
    duplicates.push(name);
    return false;
  });
  const of = <K extends ClusterObject['kind']>(kind: K) =>
    unique.filter((object): object is Extract<ClusterObject, { kind: K }> => object.kind === kind);
  return {
    namespaces: of('Namespace'),
    pods: of('Pod'),
    nodes: of('Node'),
    services: of('Service'),
    serviceCidrs: of('ServiceCIDR'),
    slices: of('EndpointSlice'),
    policies: of('NetworkPolicy').map((object) => object.policy),
    clusterPolicies: of('ClusterPolicy').map((object) => object.policy),
    duplicates,
  };
}

/** kubectl's way: `pod/shop/web`, `node/n1`. */
export function objectName(object: ClusterObject): string {
  const kind = object.kind.toLowerCase();
  if (object.kind === 'NetworkPolicy') return `${kind}/${object.policy.namespace}/${object.policy.name}`;
  if (object.kind === 'ClusterPolicy') return object.policy.id;
  if (object.kind === 'Pod') return `${kind}/${object.pod.namespace}/${object.pod.name}`;
  return 'namespace' in object ? `${kind}/${object.namespace}/${object.name}` : `${kind}/${object.name}`;
}
