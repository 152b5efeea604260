import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { NetworkPolicy } from '../policy/model.ts';
import { type ObjectChange, objectName } from '../sources/cluster-contents.ts';
import type { ClusterObject, NamespaceObject } from '../sources/objects.ts';
import type { NodeObject, ServiceCidrObject } from '../sources/objects-node.ts';
import type { PodObject } from '../sources/objects-pod.ts';
import type { EndpointSliceObject, ServiceObject } from '../sources/objects-service.ts';
import { KeyedLists } from './keyed-lists.ts';

/** The cluster, ready for questions. It follows changes: what was answered before them may be out of date. */
export class ClusterLookup {
  readonly podsByUid: ReadonlyMap<string, PodObject>;
  readonly podsByName: ReadonlyMap<string, PodObject>;
  readonly namespaces: ReadonlyMap<string, NamespaceObject>;
  readonly nodes: ReadonlyMap<string, NodeObject>;
  readonly services: ReadonlyMap<string, ServiceObject>;
  readonly serviceCidrs: ReadonlyMap<string, ServiceCidrObject>;
  readonly clusterPolicies: ReadonlyMap<string, ClusterPolicy>;
  readonly #podsByUid = new Map<string, PodObject>();
  readonly #podsByName = new Map<string, PodObject>();
  readonly #namespaces = new Map<string, NamespaceObject>();
  readonly #nodes = new Map<string, NodeObject>();
  readonly #services = new Map<string, ServiceObject>();
  readonly #serviceCidrs = new Map<string, ServiceCidrObject>();
  readonly #clusterPolicies = new Map<string, ClusterPolicy>();
  readonly #policies = new KeyedLists<NetworkPolicy>();
  readonly #podsByAddress = new KeyedLists<PodObject>();
  readonly #nodesByAddress = new KeyedLists<NodeObject>();
  readonly #servicesByAddress = new KeyedLists<ServiceObject>();
  readonly #slicesByService = new KeyedLists<EndpointSliceObject>();
  readonly #slicesByAddress = new KeyedLists<EndpointSliceObject>();

  /** @param objects that there are, each name once */
  constructor(objects: Iterable<ClusterObject> = []) {
    this.podsByUid = this.#podsByUid;
    this.podsByName = this.#podsByName;
    this.namespaces = this.#namespaces;
    this.nodes = this.#nodes;
    this.services = this.#services;
    this.serviceCidrs = this.#serviceCidrs;
    this.clusterPolicies = this.#clusterPolicies;
    for (const after of objects) this.#replace({ name: objectName(after), before: undefined, after });
  }

  /** Takes changes in. @returns the keys of what differs, in the vocabulary in which a slice says what it depends on (`slice.ts`) */
  apply(changes: Iterable<ObjectChange>): Set<string> {
    const keys = new Set<string>();
    for (const change of changes) {
      this.#replace(change);
      if (change.before !== undefined) addKeys(keys, change.before);
      if (change.after !== undefined) addKeys(keys, change.after);
    }
    return keys;
  }

  podsAt(address: string): readonly PodObject[] {
    return this.#podsByAddress.at(address);
  }

  nodeAt(address: string): NodeObject | undefined {
    return this.#nodesByAddress.at(address).at(-1);
  }

  servicesAt(address: string): readonly ServiceObject[] {
    return this.#servicesByAddress.at(address);
  }

  slicesOf(service: { readonly namespace: string; readonly name: string }): readonly EndpointSliceObject[] {
    return this.#slicesByService.at(`${service.namespace}/${service.name}`);
  }

  /** The slices with an endpoint at this address. */
  slicesAt(address: string): readonly EndpointSliceObject[] {
    return this.#slicesByAddress.at(address);
  }

  policiesOf(namespace: string): readonly NetworkPolicy[] {
    return this.#policies.at(namespace);
  }

  #replace({ name, before, after }: ObjectChange): void {
    switch ((after ?? before)!.kind) {
      case 'Namespace':
        return put(this.#namespaces, (one) => one.name, before as NamespaceObject, after as NamespaceObject);
      case 'Pod':
        return this.#replacePod(name, before as PodObject | undefined, after as PodObject | undefined);
      case 'Node': {
        const [old, now] = [before as NodeObject | undefined, after as NodeObject | undefined];
        put(this.#nodes, (one) => one.name, old, now);
        return this.#nodesByAddress.replace(name, old?.addresses ?? [], now?.addresses ?? [], now);
      }
      case 'Service': {
        const [old, now] = [before as ServiceObject | undefined, after as ServiceObject | undefined];
        put(this.#services, (one) => `${one.namespace}/${one.name}`, old, now);
        return this.#servicesByAddress.replace(name, old?.addresses ?? [], now?.addresses ?? [], now);
      }
      case 'ServiceCIDR':
        return put(
          this.#serviceCidrs,
          (one) => one.name,
          before as ServiceCidrObject,
          after as ServiceCidrObject,
        );
      case 'EndpointSlice': {
        const [old, now] = [before, after] as (EndpointSliceObject | undefined)[];
        this.#slicesByService.replace(name, serviceOf(old), serviceOf(now), now);
        return this.#slicesByAddress.replace(name, endpointsOf(old), endpointsOf(now), now);
      }
      case 'NetworkPolicy': {
        const [old, now] = [before, after].map(
          (one) => (one as { policy: NetworkPolicy } | undefined)?.policy,
        );
        return this.#policies.replace(
          name,
          old === undefined ? [] : [old.namespace],
          now === undefined ? [] : [now.namespace],
          now,
        );
      }
      case 'ClusterPolicy': {
        const [old, now] = [before, after].map(
          (one) => (one as { policy: ClusterPolicy } | undefined)?.policy,
        );
        return put(this.#clusterPolicies, (one) => one.id, old, now);
      }
    }
  }

  #replacePod(name: string, before: PodObject | undefined, after: PodObject | undefined): void {
    put(this.#podsByName, (one) => `${one.pod.namespace}/${one.pod.name}`, before, after);
    put(this.#podsByUid, (one) => one.pod.uid, before, after);
    // Of a pod that has ended the address may be another one's.
    const addressesOf = (one: PodObject | undefined): readonly string[] =>
      one === undefined || one.finished ? [] : one.pod.addresses;
    this.#podsByAddress.replace(name, addressesOf(before), addressesOf(after), after);
  }
}

function put<V>(
  map: Map<string, V>,
  keyOf: (value: V) => string,
  before: V | undefined,
  after: V | undefined,
): void {
  const [old, now] = [before && keyOf(before), after && keyOf(after)];
  // A name that somebody else has by now is his.
  if (old !== undefined && old !== now && map.get(old) === before) map.delete(old);
  if (now !== undefined) map.set(now, after!);
}

function serviceOf(slice: EndpointSliceObject | undefined): string[] {
  return slice === undefined ? [] : [`${slice.namespace}/${slice.service}`];
}

function endpointsOf(slice: EndpointSliceObject | undefined): string[] {
  return slice?.endpoints.flatMap(({ addresses }) => addresses) ?? [];
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
