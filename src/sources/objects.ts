import { canonicalAddress } from '../lib/address.ts';
import { parseCidr } from '../lib/cidr.ts';
import type { NamedPort } from '../policy/evaluate.ts';
import { FieldReader, type FieldProblem } from '../policy/fields.ts';
import type { Labels, NetworkPolicy, Protocol } from '../policy/model.ts';
import type { Pod } from '../peers/directory.ts';
import { decodeNetworkPolicy } from '../policy/decode.ts';
import { decodePod } from './pod-object.ts';

/** Entries of all lists and maps of one object. */
const MOST_ENTRIES = 100_000;

/** An object of the cluster, reduced to what decides who is where and what is allowed. */
export type ClusterObject =
  | NamespaceObject
  | PodObject
  | NodeObject
  | ServiceObject
  | EndpointSliceObject
  | { readonly kind: 'NetworkPolicy'; readonly policy: NetworkPolicy };

export interface NamespaceObject {
  readonly kind: 'Namespace';
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
}

export interface PodObject {
  readonly kind: 'Pod';
  readonly pod: Pod;
  readonly annotations: Labels;
  /** Succeeded or Failed: its address belongs to nobody or to somebody else. */
  readonly finished: boolean;
  readonly terminating: boolean;
}

export interface NodeObject {
  readonly kind: 'Node';
  readonly name: string;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
}

export interface ServiceObject {
  readonly kind: 'Service';
  readonly namespace: string;
  readonly name: string;
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: Protocol }[];
  readonly clientIpAffinity: boolean;
  readonly localTraffic: boolean;
}

export interface EndpointSliceObject {
  readonly kind: 'EndpointSlice';
  readonly namespace: string;
  readonly name: string;
  readonly service: string;
  readonly ports: readonly { readonly name: string; readonly port: number; readonly protocol: Protocol }[];
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly ready: boolean;
    readonly serving: boolean;
    readonly terminating: boolean;
    readonly nodeName: string | undefined;
  }[];
}

/** What came of an object. `ignored`: a kind that decides nothing here. */
export type Decoded =
  | { readonly object: ClusterObject; readonly warnings: readonly FieldProblem[] }
  | { readonly problems: readonly FieldProblem[] }
  | 'ignored';

const API_VERSIONS: Readonly<Record<string, string>> = {
  Namespace: 'v1',
  Pod: 'v1',
  Node: 'v1',
  Service: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  NetworkPolicy: 'networking.k8s.io/v1',
};

/** Reads one object of the kinds that matter, as the API serves it. */
export function decodeObject(value: unknown): Decoded {
  const reader = new FieldReader(MOST_ENTRIES);
  const root = reader.object(value, '');
  const kind = root?.['kind'];
  if (root === undefined || typeof kind !== 'string') {
    return { problems: [{ field: 'kind', reason: 'is missing: this is no Kubernetes object' }] };
  }
  const apiVersion = Object.hasOwn(API_VERSIONS, kind) ? API_VERSIONS[kind] : undefined;
  if (apiVersion === undefined || root['apiVersion'] !== apiVersion) return 'ignored';
  if (kind === 'NetworkPolicy') {
    const decoded = decodeNetworkPolicy(value);
    return 'problems' in decoded
      ? decoded
      : { object: { kind, policy: decoded.policy }, warnings: decoded.warnings };
  }
  const object = DECODERS[kind]!(reader, root);
  return reader.problems.length > 0 ? { problems: reader.problems } : { object, warnings: [] };
}

export interface Metadata {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string | undefined;
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly deleted: boolean;
}

/** `metadata`; a name has to be there. */
export function decodeMetadata(reader: FieldReader, value: unknown): Metadata {
  const metadata = reader.object(value, 'metadata') ?? {};
  const name = reader.text(metadata['name'], 'metadata.name');
  if (name === undefined || name === '') reader.problem('metadata.name', 'must be given');
  return {
    namespace: reader.text(metadata['namespace'], 'metadata.namespace') ?? 'default',
    name: name ?? '',
    uid: reader.text(metadata['uid'], 'metadata.uid'),
    labels: reader.texts(metadata['labels'], 'metadata.labels'),
    annotations: reader.texts(metadata['annotations'], 'metadata.annotations'),
    deleted: metadata['deletionTimestamp'] !== undefined && metadata['deletionTimestamp'] !== null,
  };
}

/** A list of addresses in canonical form. `None` and empty texts stand for «no address» and are passed over. */
export function decodeAddresses(reader: FieldReader, values: readonly unknown[], field: string): string[] {
  return values.flatMap((value, index) => {
    const text = reader.text(value, `${field}[${index}]`);
    if (text === undefined || text === '' || text === 'None') return [];
    const address = canonicalAddress(text);
    if (address !== undefined) return [address];
    reader.problem(`${field}[${index}]`, `${JSON.stringify(text)} is no IP address`);
    return [];
  });
}

/** A port and its protocol; TCP where none is given. */
export function decodePort(
  reader: FieldReader,
  value: unknown,
  field: string,
  key: 'port' | 'containerPort',
): NamedPort | undefined {
  const entry = reader.object(value, field) ?? {};
  const port = reader.integer(entry[key], `${field}.${key}`);
  const protocol = reader.text(entry['protocol'], `${field}.protocol`) ?? 'TCP';
  const name = reader.text(entry['name'], `${field}.name`) ?? '';
  if (port === undefined || port < 1 || port > 65535) {
    reader.problem(`${field}.${key}`, 'must be a port number from 1 to 65535');
    return undefined;
  }
  if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') {
    reader.problem(`${field}.protocol`, 'must be TCP, UDP or SCTP');
    return undefined;
  }
  return { name, port, protocol };
}

type Decoder = (reader: FieldReader, root: Record<string, unknown>) => ClusterObject;

const DECODERS: Readonly<Record<string, Decoder>> = {
  Pod: decodePod,
  Namespace: (reader, root) => {
    const { name, labels, annotations } = decodeMetadata(reader, root['metadata']);
    return { kind: 'Namespace', name, labels, annotations };
  },
  Node: (reader, root) => {
    const { name } = decodeMetadata(reader, root['metadata']);
    const spec = reader.object(root['spec'], 'spec') ?? {};
    const status = reader.object(root['status'], 'status') ?? {};
    const listed = reader.list(status['addresses'], 'status.addresses') ?? [];
    const addresses = listed.flatMap((entry, index) => {
      const address = reader.object(entry, `status.addresses[${index}]`) ?? {};
      // The other types are names.
      if (address['type'] !== 'InternalIP' && address['type'] !== 'ExternalIP') return [];
      return decodeAddresses(reader, [address['address']], `status.addresses[${index}].address`);
    });
    const cidrs = reader.list(spec['podCIDRs'], 'spec.podCIDRs') ?? [spec['podCIDR'] ?? ''];
    const podCidrs = cidrs.flatMap((entry, index) => {
      const text = reader.text(entry, `spec.podCIDRs[${index}]`) ?? '';
      if (text === '') return [];
      if (parseCidr(text) === undefined) reader.problem(`spec.podCIDRs[${index}]`, 'is no CIDR');
      return [text];
    });
    return { kind: 'Node', name, addresses, podCidrs };
  },
  Service: (reader, root) => {
    const { namespace, name } = decodeMetadata(reader, root['metadata']);
    const spec = reader.object(root['spec'], 'spec') ?? {};
    const status = reader.object(root['status'], 'status') ?? {};
    const balancer = reader.object(status['loadBalancer'], 'status.loadBalancer') ?? {};
    const ingress = reader.list(balancer['ingress'], 'status.loadBalancer.ingress') ?? [];
    const clusterIps = reader.list(spec['clusterIPs'], 'spec.clusterIPs') ?? [spec['clusterIP']];
    const external = reader.list(spec['externalIPs'], 'spec.externalIPs') ?? [];
    const balanced = ingress.map((entry) => reader.object(entry, 'status.loadBalancer.ingress[]')?.['ip']);
    const addresses = [
      ...decodeAddresses(reader, clusterIps, 'spec.clusterIPs'),
      ...decodeAddresses(reader, external, 'spec.externalIPs'),
      ...decodeAddresses(reader, balanced, 'status.loadBalancer.ingress'),
    ];
    return {
      kind: 'Service',
      namespace,
      name,
      addresses: [...new Set(addresses)],
      ports: decodePorts(reader, spec['ports'], 'spec.ports'),
      clientIpAffinity: spec['sessionAffinity'] === 'ClientIP',
      localTraffic: spec['internalTrafficPolicy'] === 'Local',
    };
  },
  EndpointSlice: (reader, root) => {
    const { namespace, name, labels } = decodeMetadata(reader, root['metadata']);
    const endpoints = reader.list(root['endpoints'], 'endpoints') ?? [];
    return {
      kind: 'EndpointSlice',
      namespace,
      name,
      service: labels['kubernetes.io/service-name'] ?? '',
      ports: decodePorts(reader, root['ports'], 'ports'),
      endpoints:
        root['addressType'] === 'FQDN'
          ? []
          : endpoints.map((entry, index) => decodeEndpoint(reader, entry, `endpoints[${index}]`)),
    };
  },
};

function decodePorts(reader: FieldReader, value: unknown, field: string): NamedPort[] {
  return (reader.list(value, field) ?? []).flatMap((entry, index) => {
    return decodePort(reader, entry, `${field}[${index}]`, 'port') ?? [];
  });
}

function decodeEndpoint(reader: FieldReader, value: unknown, field: string) {
  const endpoint = reader.object(value, field) ?? {};
  const conditions = reader.object(endpoint['conditions'], `${field}.conditions`) ?? {};
  const addresses = reader.list(endpoint['addresses'], `${field}.addresses`) ?? [];
  const ready = conditions['ready'] !== false; // unknown counts as ready (API documentation of EndpointConditions)
  return {
    addresses: decodeAddresses(reader, addresses, `${field}.addresses`),
    ready,
    serving: typeof conditions['serving'] === 'boolean' ? conditions['serving'] : ready,
    terminating: conditions['terminating'] === true,
    nodeName: reader.text(endpoint['nodeName'], `${field}.nodeName`),
  };
}
