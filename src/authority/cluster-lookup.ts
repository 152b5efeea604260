import { type ClusterContents, objectName } from '../sources/cluster-contents.ts';
import type { ClusterObject, NamespaceObject } from '../sources/objects.ts';
import type { NodeObject } from '../sources/objects-node.ts';
import type { PodObject } from '../sources/objects-pod.ts';
import type { EndpointSliceObject, ServiceObject } from '../sources/objects-service.ts';

/** The cluster, ready for questions. Made anew of every state; unchanging. */
export class ClusterLookup {
  readonly contents: ClusterContents;
  readonly podsByUid = new Map<string, PodObject>();
  readonly podsByName = new Map<string, PodObject>();
  readonly namespaces = new Map<string, NamespaceObject>();
  readonly nodes = new Map<string, NodeObject>();
  readonly services = new Map<string, ServiceObject>();
  readonly #podsByAddress = new Map<string, PodObject[]>();
  readonly #nodesByAddress = new Map<string, NodeObject>();
  readonly #servicesByAddress = new Map<string, ServiceObject[]>();
  readonly #slicesByService = new Map<string, EndpointSliceObject[]>();
  readonly #slicesByAddress = new Map<string, EndpointSliceObject[]>();

  constructor(contents: ClusterContents) {
    this.contents = contents;
    for (const one of contents.namespaces) this.namespaces.set(one.name, one);
    for (const one of contents.pods) {
      this.podsByName.set(`${one.pod.namespace}/${one.pod.name}`, one);
      this.podsByUid.set(one.pod.uid, one);
      if (one.finished) continue;
      for (const address of one.pod.addresses) push(this.#podsByAddress, address, one);
    }
    for (const one of contents.nodes) {
      this.nodes.set(one.name, one);
      for (const address of one.addresses) this.#nodesByAddress.set(address, one);
    }
    for (const one of contents.services) {
      this.services.set(`${one.namespace}/${one.name}`, one);
      for (const address of one.addresses) push(this.#servicesByAddress, address, one);
    }
    for (const one of contents.slices) {
      push(this.#slicesByService, `${one.namespace}/${one.service}`, one);
      const addresses = new Set(one.endpoints.flatMap((endpoint) => endpoint.addresses));
      for (const address of addresses) push(this.#slicesByAddress, address, one);
    }
  }

  podsAt(address: string): readonly PodObject[] {
    return this.#podsByAddress.get(address) ?? [];
  }

  nodeAt(address: string): NodeObject | undefined {
    return this.#nodesByAddress.get(address);
  }

  servicesAt(address: string): readonly ServiceObject[] {
    return this.#servicesByAddress.get(address) ?? [];
  }

  slicesOf(service: { readonly namespace: string; readonly name: string }): readonly EndpointSliceObject[] {
    return this.#slicesByService.get(`${service.namespace}/${service.name}`) ?? [];
  }

  /** The slices with an endpoint at this address. */
  slicesAt(address: string): readonly EndpointSliceObject[] {
    return this.#slicesByAddress.get(address) ?? [];
  }
}

/**
 * The keys of everything that differs between two states, in the vocabulary in which a slice says what it depends on (`slice.ts`). Objects that did not
 * change are the same objects: that is what makes this cheap.
 */
export function changedKeys(before: ClusterContents | undefined, after: ClusterContents): Set<string> {
  const keys = new Set<string>();
  const lists = (contents: ClusterContents): readonly ClusterObject[][] => [
    [...contents.namespaces],
    [...contents.pods],
    [...contents.nodes],
    [...contents.services],
    [...contents.serviceCidrs],
    [...contents.slices],
    contents.policies.map((policy) => ({ kind: 'NetworkPolicy' as const, policy })),
    contents.clusterPolicies.map((policy) => ({ kind: 'ClusterPolicy' as const, policy })),
  ];
  const identity = (object: ClusterObject): object => ('policy' in object ? object.policy : object);
  const old = before === undefined ? [] : lists(before);
  for (const [at, list] of lists(after).entries()) {
    const known = new Map((old[at] ?? []).map((object) => [identity(object), object]));
    for (const object of list) {
      if (!known.delete(identity(object))) addKeys(keys, object);
    }
    for (const object of known.values()) addKeys(keys, object);
  }
  return keys;
}

function addKeys(keys: Set<string>, object: ClusterObject): void {
  switch (object.kind) {
    case 'NetworkPolicy':
      keys.add(`policies/${object.policy.namespace}`);
      return;
    case 'ClusterPolicy':
      keys.add('cluster-policies');
      return;
    case 'Node':
      keys.add('networks').add('nodes').add(objectName(object));
      for (const address of object.addresses) keys.add(`address/${address}`);
      return;
    case 'ServiceCIDR':
      keys.add('networks');
      return;
    case 'Pod':
      keys.add(objectName(object)).add(`uid/${object.pod.uid}`);
      for (const address of object.pod.addresses) keys.add(`address/${address}`);
      return;
    case 'Service':
      keys.add(objectName(object));
      for (const address of object.addresses) keys.add(`address/${address}`);
      return;
    case 'EndpointSlice':
      keys.add(`service/${object.namespace}/${object.service}`);
      for (const { addresses } of object.endpoints) for (const one of addresses) keys.add(`address/${one}`);
      return;
    case 'Namespace':
      keys.add(objectName(object));
  }
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
