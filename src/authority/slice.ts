import { type CompiledClusterPolicy, compileClusterPolicy, subjectMatches } from '../policy/cluster-rules.ts';
import type { ClusterPolicy } from '../policy/cluster-model.ts';
import { type CompiledSelector, compileSelector, selectorMatches } from '../policy/selector.ts';
import type { NetworkPolicy } from '../policy/model.ts';
import { objectName } from '../sources/cluster-contents.ts';
import type { ClusterObject } from '../sources/objects.ts';
import { gatewayAddresses } from '../sources/objects-node.ts';
import type { PodObject } from '../sources/objects-pod.ts';
import type { EndpointSliceObject, ServiceObject } from '../sources/objects-service.ts';
import type { ClusterLookup } from './cluster-lookup.ts';

/** What a sidecar asked about. */
export interface Interests {
  readonly addresses: ReadonlySet<string>;
  /** `namespace/name` of peers that proved themselves. */
  readonly peers: ReadonlySet<string>;
}

/** What a sidecar is to know, and what it depends on. */
export interface Slice {
  /** By name. The same objects as in the index wherever they are sent whole. */
  readonly objects: ReadonlyMap<string, ClusterObject>;
  /** Keys of {@link ClusterLookup.apply} after whose change the slice has to be made anew. */
  readonly dependsOn: ReadonlySet<string>;
}

/** Selectors are compiled once per policy, whatever the number of sidecars. */
export class SelectorCache {
  readonly #subjects = new WeakMap<NetworkPolicy, CompiledSelector>();
  readonly #cluster = new WeakMap<ClusterPolicy, CompiledClusterPolicy>();

  selects(policy: NetworkPolicy, self: PodObject): boolean {
    let subject = this.#subjects.get(policy);
    if (subject === undefined) this.#subjects.set(policy, (subject = compileSelector(policy.podSelector)));
    return selectorMatches(subject, self.pod.labels);
  }

  clusterSelects(policy: ClusterPolicy, pod: Parameters<typeof subjectMatches>[1]): boolean {
    let compiled = this.#cluster.get(policy);
    if (compiled === undefined) this.#cluster.set(policy, (compiled = compileClusterPolicy(policy)));
    return subjectMatches(compiled, pod);
  }
}

/**
 * The part of the cluster that a pod's sidecar needs: its own pod, namespace and node; the policies that select it; the Services through which it
 * is reached, with itself as their only endpoint; and whatever stands behind the addresses and names that it asked about. Nothing else.
 */
export function sliceOf(
  lookup: ClusterLookup,
  self: PodObject,
  interests: Interests,
  selectors: SelectorCache,
): Slice {
  const objects = new Map<string, ClusterObject>();
  const dependsOn = new Set<string>(['networks', 'cluster-policies', `policies/${self.pod.namespace}`]);
  const add = (object: ClusterObject | undefined): void => {
    if (object !== undefined) objects.set(objectName(object), object);
  };
  const addPod = (pod: PodObject): void => {
    add(pod);
    dependsOn.add(objectName(pod)).add(`uid/${pod.pod.uid}`).add(`namespace/${pod.pod.namespace}`);
    add(lookup.namespaces.get(pod.pod.namespace));
  };

  addPod(self);
  if (self.pod.nodeName !== undefined) {
    dependsOn.add(`node/${self.pod.nodeName}`);
    const node = lookup.nodes.get(self.pod.nodeName);
    add(node);
    // A pod that has what would be the gateway's address is not to be taken for the node.
    for (const address of node === undefined ? [] : gatewayAddresses(node)) {
      dependsOn.add(`address/${address}`);
      for (const pod of lookup.podsAt(address)) addPod(pod);
    }
  }
  addPolicies(lookup, self, selectors, add, dependsOn);
  for (const address of self.pod.addresses) {
    dependsOn.add(`address/${address}`);
    for (const slice of lookup.slicesAt(address)) {
      dependsOn.add(`service/${slice.namespace}/${slice.service}`);
      add(lookup.services.get(`${slice.namespace}/${slice.service}`));
      add(onlyEndpoint(slice, address));
    }
  }

  const addService = (service: ServiceObject): void => {
    add(service);
    dependsOn.add(objectName(service));
    for (const slice of lookup.slicesOf(service)) {
      add(slice);
      for (const { addresses } of slice.endpoints) {
        for (const one of addresses) {
          dependsOn.add(`address/${one}`);
          for (const pod of lookup.podsAt(one)) addPod(pod);
          add(lookup.nodeAt(one));
        }
      }
    }
  };
  for (const address of interests.addresses) {
    dependsOn.add(`address/${address}`);
    for (const pod of lookup.podsAt(address)) addPod(pod);
    add(lookup.nodeAt(address));
    for (const service of lookup.servicesAt(address)) addService(service);
  }
  for (const name of interests.peers) {
    dependsOn.add(`pod/${name}`);
    const pod = lookup.podsByName.get(name);
    if (pod !== undefined) addPod(pod);
  }
  return { objects, dependsOn };
}

function addPolicies(
  lookup: ClusterLookup,
  self: PodObject,
  selectors: SelectorCache,
  add: (object: ClusterObject) => void,
  dependsOn: Set<string>,
): void {
  const { namespace, labels } = self.pod;
  for (const policy of lookup.policiesOf(namespace)) {
    if (selectors.selects(policy, self)) add({ kind: 'NetworkPolicy', policy });
  }
  const namespaceLabels = {
    ...lookup.namespaces.get(namespace)?.labels,
    'kubernetes.io/metadata.name': namespace,
  };
  for (const policy of lookup.clusterPolicies.values()) {
    if (!selectors.clusterSelects(policy, { namespace, labels, namespaceLabels })) continue;
    add({ kind: 'ClusterPolicy', policy });
    // Rules about nodes are judged by their addresses: who has such a rule has to know all of them.
    const rules = [...policy.ingress, ...policy.egress];
    if (!rules.some(({ peers }) => peers.some(({ kind }) => kind === 'nodes'))) continue;
    dependsOn.add('nodes');
    for (const node of lookup.nodes.values()) add(node);
  }
}

/** A pod that is called through a Service need not know who else stands behind it. */
const REDUCED = new WeakMap<EndpointSliceObject, Map<string, EndpointSliceObject>>();

function onlyEndpoint(slice: EndpointSliceObject, address: string): EndpointSliceObject {
  const known = REDUCED.get(slice) ?? new Map<string, EndpointSliceObject>();
  REDUCED.set(slice, known);
  let reduced = known.get(address);
  if (reduced === undefined) {
    const endpoints = slice.endpoints
      .filter(({ addresses }) => addresses.includes(address))
      .map((endpoint) => ({ ...endpoint, addresses: [address] }));
    known.set(address, (reduced = { ...slice, endpoints }));
  }
  return reduced;
}
