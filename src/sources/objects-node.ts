import type { Labels } from '../policy/model.ts';
import { firstHost, parseCidr } from '../lib/cidr.ts';
import type { FieldReader } from '../policy/fields.ts';
import { decodeAddresses, decodeMetadata } from './objects-fields.ts';

export interface NodeObject {
  readonly kind: 'Node';
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  /** `topology.kubernetes.io/zone`. */
  readonly zone: string | undefined;
}

/**
 * Where kubelet and everybody else on a node come from when they call one of its pods over a bridge or a pair of interfaces: the gateway of the pods' network, by
 * convention (kubenet, kind, flannel, the CNI bridge) the first address of the node's pod block. A network that gives it to a pod has no gateway there. A sidecar
 * knows better from its own routes.
 */
export function gatewayAddresses({ podCidrs }: Pick<NodeObject, 'podCidrs'>): string[] {
  return podCidrs.flatMap((text) => {
    const cidr = parseCidr(text);
    return (cidr && firstHost(cidr)) ?? [];
  });
}

/** The addresses that Services are given, by `ServiceCIDR` objects (KEP-1880). */
export interface ServiceCidrObject {
  readonly kind: 'ServiceCIDR';
  readonly name: string;
  readonly cidrs: readonly string[];
}

/** Reads a Node. */
export function decodeNode(reader: FieldReader, root: Record<string, unknown>): NodeObject {
  const { name, labels } = decodeMetadata(reader, root['metadata']);
  const spec = reader.object(root['spec'], 'spec') ?? {};
  const status = reader.object(root['status'], 'status') ?? {};
  const listed = reader.list(status['addresses'], 'status.addresses') ?? [];
  const addresses = listed.flatMap((entry, index) => {
    const address = reader.object(entry, `status.addresses[${index}]`) ?? {};
    // The other types are names.
    if (address['type'] !== 'InternalIP' && address['type'] !== 'ExternalIP') return [];
    return decodeAddresses(reader, [address['address']], `status.addresses[${index}].address`);
  });
  const several = reader.list(spec['podCIDRs'], 'spec.podCIDRs') ?? [];
  const podCidrs =
    several.length > 0
      ? decodeCidrs(reader, several, 'spec.podCIDRs')
      : decodeCidrs(reader, [spec['podCIDR']], 'spec.podCIDR');
  return { kind: 'Node', name, labels, addresses, podCidrs, zone: labels['topology.kubernetes.io/zone'] };
}

/** Reads a ServiceCIDR. */
export function decodeServiceCidr(reader: FieldReader, root: Record<string, unknown>): ServiceCidrObject {
  const { name } = decodeMetadata(reader, root['metadata']);
  const spec = reader.object(root['spec'], 'spec') ?? {};
  const cidrs = decodeCidrs(reader, reader.list(spec['cidrs'], 'spec.cidrs') ?? [], 'spec.cidrs');
  return { kind: 'ServiceCIDR', name, cidrs };
}

function decodeCidrs(reader: FieldReader, values: readonly unknown[], field: string): string[] {
  return values.flatMap((value, index) => {
    const text = reader.text(value, `${field}[${index}]`) ?? '';
    if (text === '') return [];
    if (parseCidr(text) !== undefined) return [text];
    reader.problem(`${field}[${index}]`, `${JSON.stringify(text.slice(0, 60))} is no CIDR`);
    return [];
  });
}
