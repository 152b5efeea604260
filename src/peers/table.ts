import { parseAddress } from '../lib/address.ts';
import { type Cidr, cidrContains, parseCidr } from '../lib/cidr.ts';
import type { Labels } from '../policy/model.ts';
import type { AddressOwner, Directory, Pod, ServiceEndpoint, ServicePort } from './directory.ts';

/** What a directory is made of. */
export interface DirectoryContents {
  readonly namespaces: readonly { readonly name: string; readonly labels: Labels }[];
  readonly pods: readonly { readonly pod: Pod; readonly finished: boolean; readonly terminating: boolean }[];
  readonly nodes: readonly {
    readonly name: string;
    readonly addresses: readonly string[];
    readonly podCidrs: readonly string[];
  }[];
  readonly services: readonly ServiceContents[];
  readonly slices: readonly SliceContents[];
}

interface PortContents {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

interface ServiceContents {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly ports: readonly PortContents[];
  readonly clientIpAffinity: boolean;
  readonly localTraffic: boolean;
}

interface SliceContents {
  readonly namespace: string;
  readonly service: string;
  readonly ports: readonly PortContents[];
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly serving: boolean;
    readonly terminating: boolean;
    readonly nodeName: string | undefined;
  }[];
}

/** Makes a directory: every question is one look into a map. */
export function buildDirectory(contents: DirectoryContents): Directory {
  const podsByName = new Map<string, Pod>();
  const podsByAddress = podAddresses(contents.pods);
  for (const { pod } of contents.pods) podsByName.set(`${pod.namespace}/${pod.name}`, pod);
  const nodes = new Map(
    contents.nodes.flatMap((node) => node.addresses.map((address) => [address, node.name] as const)),
  );
  const podNetwork = contents.nodes.flatMap((node) => node.podCidrs.flatMap((text) => parseCidr(text) ?? []));
  const namespaces = new Map(contents.namespaces.map(({ name, labels }) => [name, labels]));
  const services = servicePorts(contents.services, contents.slices);
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
  return {
    owner: (address) => ownerOf(address, podsByAddress, nodes, podNetwork),
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

function ownerOf(
  address: string,
  pods: ReadonlyMap<string, Pod>,
  nodes: ReadonlyMap<string, string>,
  podNetwork: readonly Cidr[],
): AddressOwner {
  const pod = pods.get(address);
  if (pod !== undefined) return { kind: 'pod', pod };
  const name = nodes.get(address);
  if (name !== undefined) return { kind: 'node', name };
  const parsed = parseAddress(address);
  const inside = parsed === undefined || podNetwork.some((cidr) => cidrContains(cidr, parsed));
  return { kind: inside ? 'unknown' : 'external' };
}

/** Of two pods that claim an address, the one that is there to stay has it. */
function podAddresses(pods: DirectoryContents['pods']): Map<string, Pod> {
  const byAddress = new Map<string, Pod>();
  const ofStaying = new Set<string>();
  for (const { pod, finished, terminating } of pods) {
    if (finished || pod.hostNetwork) continue;
    for (const address of pod.addresses) {
      if (ofStaying.has(address)) continue;
      byAddress.set(address, pod);
      if (!terminating) ofStaying.add(address);
    }
  }
  return byAddress;
}

/** By `address|port`. Ports of a Service and of its slices belong together by their names. */
function servicePorts(
  services: readonly ServiceContents[],
  slices: readonly SliceContents[],
): Map<string, ServicePort> {
  const slicesOf = new Map<string, SliceContents[]>();
  for (const slice of slices) {
    const key = `${slice.namespace}/${slice.service}`;
    const of = slicesOf.get(key) ?? [];
    slicesOf.set(key, of);
    of.push(slice);
  }
  const found = new Map<string, ServicePort>();
  for (const service of services) {
    for (const port of service.ports) {
      if (port.protocol !== 'TCP') continue;
      const endpoints = endpointsOf(slicesOf.get(`${service.namespace}/${service.name}`) ?? [], port.name);
      const entry: ServicePort = {
        namespace: service.namespace,
        service: service.name,
        clientIpAffinity: service.clientIpAffinity,
        localTraffic: service.localTraffic,
        endpoints,
      };
      for (const address of service.addresses) {
        const family = address.includes(':');
        const ofFamily = endpoints.filter((endpoint) => endpoint.address.includes(':') === family);
        found.set(`${address}|${port.port}`, { ...entry, endpoints: ofFamily });
      }
    }
  }
  return found;
}

function endpointsOf(slices: readonly SliceContents[], portName: string): ServiceEndpoint[] {
  const found = new Map<string, ServiceEndpoint>();
  for (const slice of slices) {
    const port = slice.ports.find((one) => one.name === portName && one.protocol === 'TCP')?.port;
    if (port === undefined) continue;
    for (const { addresses, ready, serving, terminating, nodeName } of slice.endpoints) {
      for (const address of addresses) {
        found.set(`${address}|${port}`, {
          address,
          port,
          ready,
          servingWhileTerminating: serving && terminating,
          nodeName,
        });
      }
    }
  }
  return [...found.values()];
}
