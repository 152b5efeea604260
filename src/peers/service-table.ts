import type { EndpointHints, ServiceEndpoint, ServicePort } from './directory.ts';

interface PortContents {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

export interface ServiceContents {
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  /** Those of {@link addresses} that the cluster gave it; undefined: all. */
  readonly clusterAddresses?: readonly string[];
  /** Those that a load balancer gave it. The others were written by who made it. */
  readonly balancerAddresses?: readonly string[];
  readonly ports: readonly PortContents[];
  readonly clientIpAffinity: boolean;
  readonly localTraffic: boolean;
}

export interface SliceContents {
  readonly namespace: string;
  readonly service: string;
  readonly ports: readonly PortContents[];
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly serving: boolean;
    readonly terminating: boolean;
    readonly nodeName: string | undefined;
    readonly hintedZones?: readonly string[];
    readonly hintedNodes?: readonly string[];
  }[];
}

/** The nodes of each zone. */
export function zoneNodes(
  nodes: readonly { readonly name: string; readonly zone?: string | undefined }[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const zones = new Map<string, Set<string>>();
  for (const { name, zone } of nodes) {
    if (zone === undefined) continue;
    zones.set(zone, (zones.get(zone) ?? new Set()).add(name));
  }
  return zones;
}

/**
 * By `address|port`. Ports of a Service and of its slices belong together by their names. Of several Services with one address that one has it which got it
 * from the cluster, else from a load balancer: `externalIPs` may name any address, and who may make a Service need not own it (CVE-2020-8554).
 *
 * @param isOthers whether a Service cannot have an address by the word of a load balancer, or of its author
 */
export function servicePorts(
  services: readonly ServiceContents[],
  slices: readonly SliceContents[],
  zones: ReadonlyMap<string, ReadonlySet<string>>,
  isOthers: (address: string, giver: 'balancer' | 'author') => boolean,
): Map<string, ServicePort> {
  const slicesOf = new Map<string, SliceContents[]>();
  for (const slice of slices) {
    const key = `${slice.namespace}/${slice.service}`;
    const of = slicesOf.get(key) ?? [];
    slicesOf.set(key, of);
    of.push(slice);
  }
  const clusters = new Set(services.flatMap((service) => service.clusterAddresses ?? service.addresses));
  const found = new Map<string, ServicePort>();
  for (const giver of GIVERS) {
    for (const service of services) {
      const addresses = service.addresses.filter(
        (address) =>
          giverOf(service, address) === giver &&
          (giver === 'cluster' || !(clusters.has(address) || isOthers(address, giver))),
      );
      for (const port of service.ports) {
        if (port.protocol !== 'TCP' || addresses.length === 0) continue;
        const all = endpointsOf(slicesOf.get(`${service.namespace}/${service.name}`) ?? [], port.name, zones);
        for (const address of addresses) {
          const key = `${address}|${port.port}`;
          if (found.has(key)) continue;
          found.set(key, {
            namespace: service.namespace,
            service: service.name,
            clientIpAffinity: service.clientIpAffinity,
            // The policy for traffic within the cluster is about the cluster's own addresses (KEP-2086).
            localTraffic: service.localTraffic && giver === 'cluster',
            endpoints: all.filter((endpoint) => endpoint.address.includes(':') === address.includes(':')),
          });
        }
      }
    }
  }
  return found;
}

/** Whose word it is that a Service has an address, the better one first. */
const GIVERS = ['cluster', 'balancer', 'author'] as const;

function giverOf(service: ServiceContents, address: string): (typeof GIVERS)[number] {
  if ((service.clusterAddresses ?? service.addresses).includes(address)) return 'cluster';
  return service.balancerAddresses?.includes(address) === true ? 'balancer' : 'author';
}

/** Each endpoint once: while one moves from slice to slice it stands in both, and the better word counts. */
function endpointsOf(
  slices: readonly SliceContents[],
  portName: string,
  zones: ReadonlyMap<string, ReadonlySet<string>>,
): ServiceEndpoint[] {
  const found = new Map<string, ServiceEndpoint>();
  for (const slice of slices) {
    const port = slice.ports.find((one) => one.name === portName && one.protocol === 'TCP')?.port;
    if (port === undefined) continue;
    for (const endpoint of slice.endpoints) {
      const { ready, serving, terminating, nodeName } = endpoint;
      const hints = hintsOf(endpoint, zones);
      for (const address of endpoint.addresses) {
        const key = `${address}|${port}`;
        if (found.get(key)?.ready === true) continue;
        found.set(key, {
          address,
          port,
          ready,
          servingWhileTerminating: serving && terminating,
          nodeName,
          ...(hints === undefined ? {} : { hints }),
        });
      }
    }
  }
  return [...found.values()];
}

function hintsOf(
  { hintedNodes = [], hintedZones = [] }: SliceContents['endpoints'][number],
  zones: ReadonlyMap<string, ReadonlySet<string>>,
): EndpointHints | undefined {
  if (hintedNodes.length === 0 && hintedZones.length === 0) return undefined;
  const inZones = new Set(hintedZones.flatMap((zone) => [...(zones.get(zone) ?? [])]));
  return { nodes: new Set(hintedNodes), zones: hintedZones.length === 0 ? undefined : inZones };
}
