import { gatewayAddresses } from '../sources/objects-node.ts';
import { formatAddress, parseAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { Labels } from '../policy/model.ts';
import type { AddressOwner, Directory, Pod } from './directory.ts';
import { type ServiceContents, servicePorts, type SliceContents, zoneNodes } from './service-table.ts';

/** What a directory is made of. */
export interface DirectoryContents {
  readonly namespaces: readonly { readonly name: string; readonly labels: Labels }[];
  readonly pods: readonly PodContents[];
  readonly nodes: readonly {
    readonly name: string;
    readonly addresses: readonly string[];
    readonly podCidrs: readonly string[];
    readonly labels?: Labels;
    readonly zone?: string | undefined;
  }[];
  readonly services: readonly ServiceContents[];
  readonly slices: readonly SliceContents[];
  readonly serviceCidrs?: readonly { readonly cidrs: readonly string[] }[];
  /** The pod network as far as Nodes do not tell it. */
  readonly podCidrs?: readonly string[];
  /** Where the own pod's default routes lead. */
  readonly ownGateways?: { readonly node: string; readonly addresses: readonly string[] };
}

interface PodContents {
  readonly pod: Pod;
  readonly finished: boolean;
  readonly terminating: boolean;
  readonly createdAt?: number;
}

/**
 * Makes a directory: every question is one look into a map, and for addresses that nobody has into the few blocks of the cluster.
 * @param onShared told of addresses that several pods claim, the one that has it first
 */
export function buildDirectory(
  contents: DirectoryContents,
  onShared?: (address: string, pods: readonly Pod[]) => void,
): Directory {
  const podsByName = new Map(contents.pods.map(({ pod }) => [`${pod.namespace}/${pod.name}`, pod]));
  const podsByAddress = podAddresses(contents.pods, onShared);
  const podBlocks = parsed([
    ...contents.nodes.flatMap((node) => node.podCidrs),
    ...(contents.podCidrs ?? []),
  ]);
  const inside = [...podBlocks, ...parsed((contents.serviceCidrs ?? []).flatMap(({ cidrs }) => cidrs))];
  const nodes = nodeAddresses(contents, podBlocks);
  const clusterAddresses = new Set(
    contents.services.flatMap(({ addresses, clusterAddresses }) => clusterAddresses ?? addresses),
  );
  const namespaces = new Map(contents.namespaces.map(({ name, labels }) => [name, labels]));
  const services = servicePorts(
    contents.services,
    contents.slices,
    zoneNodes(contents.nodes),
    // A load balancer may have its addresses in the network of the pods; whoever makes a Service has none there.
    (address, giver) => podsByAddress.has(address) || (giver === 'author' && isInside(inside, address)),
  );
  const destinations = new Map<string, { address: string; port: number }[]>();
  for (const [key, service] of services) {
    const separator = key.lastIndexOf('|');
    const destination = { address: key.slice(0, separator), port: Number(key.slice(separator + 1)) };
    for (const { address, port } of service.endpoints) {
      const of = destinations.get(`${address}|${port}`) ?? [];
      destinations.set(`${address}|${port}`, of);
      of.push(destination);
    }
  }
  const nodeLabels = new Map(contents.nodes.map(({ name, labels }) => [name, labels]));
  return {
    knowsPodNetwork:
      contents.nodes.some(({ podCidrs }) => podCidrs.length > 0) || (contents.podCidrs ?? []).length > 0,
    owner(address): AddressOwner {
      const pod = podsByAddress.get(address);
      if (pod !== undefined) return { kind: 'pod', pod };
      const name = nodes.get(address);
      if (name !== undefined) return { kind: 'node', name, labels: nodeLabels.get(name) ?? {} };
      // A port that the Service does not have: nobody answers there, and it is no address outside.
      if (clusterAddresses.has(address)) return { kind: 'unknown' };
      return { kind: isInside(inside, address) ? 'unknown' : 'external' };
    },
    service: (address, port) => services.get(`${address}|${port}`),
    pod: (namespace, name) => podsByName.get(`${namespace}/${name}`),
    pods: () => podsByName.values(),
    namespaceLabels: (namespace) => ({
      ...namespaces.get(namespace),
      'kubernetes.io/metadata.name': namespace,
    }),
    destinationsOf: (address, port) => destinations.get(`${address}|${port}`) ?? [],
  };
}

function isInside(blocks: readonly Cidr[], address: string): boolean {
  const parsed = parseAddress(address);
  return parsed === undefined || blocks.some((cidr) => cidrContains(cidr, parsed));
}

function parsed(blocks: readonly string[]): Cidr[] {
  return [...new Set(blocks)].flatMap((text) => parseCidr(text) ?? []);
}

/** Pods on the host's network have their node's address, also where the Node itself is not known; a gateway's is its node's. Pods are asked first. */
function nodeAddresses(
  { nodes, pods, ownGateways }: DirectoryContents,
  podBlocks: Cidr[],
): Map<string, string> {
  const known = nodes.flatMap((node) => node.addresses.map((address) => [address, node.name] as const));
  const own = ownGateways?.addresses.flatMap((text) => parseAddress(text) ?? []) ?? [];
  const gateways = nodes.flatMap((node) => {
    // What the own routes say holds for the own node, in their families; elsewhere there is the convention alone.
    const seen = node.name === ownGateways?.node ? own.map(({ family }) => family) : [];
    const guessed = gatewayAddresses(node).filter((text) => !seen.includes(parseAddress(text)!.family));
    return guessed.map((address) => [address, node.name] as const);
  });
  // A router outside of the pod network is none of the node's interfaces: whatever it translates is not the node.
  for (const one of own)
    if (podBlocks.some((cidr) => cidrContains(cidr, one)))
      gateways.push([formatAddress(one), ownGateways!.node]);
  const told = pods.flatMap(({ pod, finished }) => {
    const { hostNetwork, nodeName, addresses } = pod;
    if (!hostNetwork || finished || nodeName === undefined) return [];
    return addresses.map((address) => [address, nodeName] as const);
  });
  return new Map([...gateways, ...told, ...known]);
}

/** Of several pods that claim an address, one that is there to stay has it; of those the youngest. A finished one has none. */
function podAddresses(
  pods: readonly PodContents[],
  onShared: ((address: string, pods: readonly Pod[]) => void) | undefined,
): Map<string, Pod> {
  const claims = new Map<string, PodContents[]>();
  for (const claim of pods) {
    if (claim.finished || claim.pod.hostNetwork) continue;
    for (const address of claim.pod.addresses) {
      const of = claims.get(address) ?? [];
      claims.set(address, of);
      of.push(claim);
    }
  }
  const owners = new Map<string, Pod>();
  for (const [address, of] of claims) {
    const ranked = of.length === 1 ? of : of.toSorted(moreLikely);
    owners.set(address, ranked[0]!.pod);
    // One that ends beside its successor is the usual course of things.
    const staying = ranked.filter(({ terminating }) => !terminating);
    if (staying.length > 1)
      onShared?.(
        address,
        staying.map(({ pod }) => pod),
      );
  }
  return owners;
}

function moreLikely(one: PodContents, other: PodContents): number {
  if (one.terminating !== other.terminating) return one.terminating ? 1 : -1;
  return (other.createdAt ?? 0) - (one.createdAt ?? 0);
}
