import type { NamedPort } from '../policy/evaluate.ts';
import type { FieldReader } from '../policy/fields.ts';
import { decodeAddresses, decodeFlag, decodeMetadata, decodePort, decodeWord } from './objects-fields.ts';

export interface ServiceObject {
  readonly kind: 'Service';
  readonly namespace: string;
  readonly name: string;
  /** All addresses. Who made the Service wrote those that stand in neither of the two lists below (`externalIPs`). */
  readonly addresses: readonly string[];
  /** Given by the cluster. */
  readonly clusterAddresses: readonly string[];
  /** Given by a load balancer. */
  readonly balancerAddresses: readonly string[];
  readonly ports: readonly NamedPort[];
  readonly clientIpAffinity: boolean;
  readonly localTraffic: boolean;
}

export interface EndpointSliceObject {
  readonly kind: 'EndpointSlice';
  readonly namespace: string;
  readonly name: string;
  readonly service: string;
  readonly ports: readonly NamedPort[];
  readonly endpoints: readonly SliceEndpoint[];
}

interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string | undefined;
  readonly hintedZones: readonly string[];
  readonly hintedNodes: readonly string[];
}

/** Reads a Service. `publishNotReadyAddresses` needs no reading: the slices then say `ready` (API documentation of EndpointConditions). */
export function decodeService(reader: FieldReader, root: Record<string, unknown>): ServiceObject {
  const { namespace, name } = decodeMetadata(reader, root['metadata']);
  const spec = reader.object(root['spec'], 'spec') ?? {};
  const status = reader.object(root['status'], 'status') ?? {};
  const balancer = reader.object(status['loadBalancer'], 'status.loadBalancer') ?? {};
  const ingress = reader.list(balancer['ingress'], 'status.loadBalancer.ingress') ?? [];
  const several = reader.list(spec['clusterIPs'], 'spec.clusterIPs') ?? [];
  const cluster =
    several.length > 0
      ? decodeAddresses(reader, several, 'spec.clusterIPs')
      : decodeAddresses(reader, [spec['clusterIP']], 'spec.clusterIP');
  const external = reader.list(spec['externalIPs'], 'spec.externalIPs') ?? [];
  const balanced = decodeAddresses(
    reader,
    ingress.map((entry, index) => reader.object(entry, `status.loadBalancer.ingress[${index}]`)?.['ip']),
    'status.loadBalancer.ingress',
  );
  const affinity = decodeWord(reader, spec['sessionAffinity'], 'spec.sessionAffinity', ['None', 'ClientIP']);
  const traffic = decodeWord(reader, spec['internalTrafficPolicy'], 'spec.internalTrafficPolicy', [
    'Cluster',
    'Local',
  ]);
  return {
    kind: 'Service',
    namespace,
    name,
    addresses: [
      ...new Set([...cluster, ...decodeAddresses(reader, external, 'spec.externalIPs'), ...balanced]),
    ],
    clusterAddresses: cluster,
    balancerAddresses: balanced,
    ports: (reader.list(spec['ports'], 'spec.ports') ?? []).flatMap(
      (entry, index) => decodePort(reader, entry, `spec.ports[${index}]`, 'port') ?? [],
    ),
    clientIpAffinity: affinity === 'ClientIP',
    localTraffic: traffic === 'Local',
  };
}

/** Reads an EndpointSlice. One of type FQDN has no addresses. */
export function decodeEndpointSlice(reader: FieldReader, root: Record<string, unknown>): EndpointSliceObject {
  const { namespace, name, labels } = decodeMetadata(reader, root['metadata']);
  const type = decodeWord(reader, root['addressType'], 'addressType', ['IPv4', 'IPv6', 'FQDN']);
  const endpoints = reader.list(root['endpoints'], 'endpoints') ?? [];
  return {
    kind: 'EndpointSlice',
    namespace,
    name,
    service: labels['kubernetes.io/service-name'] ?? '',
    ports: (reader.list(root['ports'], 'ports') ?? []).flatMap((entry, index) => {
      const port = reader.object(entry, `ports[${index}]`)?.['port'];
      // A port without a number is for consumers that know what it means.
      if (port === undefined || port === null) return [];
      return decodePort(reader, entry, `ports[${index}]`, 'port') ?? [];
    }),
    endpoints:
      type === 'FQDN'
        ? []
        : endpoints.map((entry, index) => decodeEndpoint(reader, entry, `endpoints[${index}]`)),
  };
}

function decodeEndpoint(reader: FieldReader, value: unknown, field: string): SliceEndpoint {
  const endpoint = reader.object(value, field) ?? {};
  const conditions = reader.object(endpoint['conditions'], `${field}.conditions`) ?? {};
  const hints = reader.object(endpoint['hints'], `${field}.hints`) ?? {};
  const flag = (name: string): boolean | undefined =>
    decodeFlag(reader, conditions[name], `${field}.conditions.${name}`);
  const names = (list: string): string[] =>
    (reader.list(hints[list], `${field}.hints.${list}`) ?? []).flatMap((entry, index) => {
      const at = `${field}.hints.${list}[${index}]`;
      return reader.text(reader.object(entry, at)?.['name'], `${at}.name`) ?? [];
    });
  const ready = flag('ready') ?? true; // unknown counts as ready (API documentation of EndpointConditions)
  return {
    addresses: decodeAddresses(
      reader,
      reader.list(endpoint['addresses'], `${field}.addresses`) ?? [],
      `${field}.addresses`,
    ),
    ready,
    serving: flag('serving') ?? ready,
    terminating: flag('terminating') ?? false,
    nodeName: reader.text(endpoint['nodeName'], `${field}.nodeName`),
    hintedZones: names('forZones'),
    hintedNodes: names('forNodes'),
  };
}
