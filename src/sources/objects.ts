import { decodeNetworkPolicy } from '../policy/decode.ts';
import { CLUSTER_FORMS } from '../policy/cluster-forms.ts';
import type { ClusterPolicy } from '../policy/cluster-model.ts';
import { decodeClusterPolicy } from '../policy/decode-cluster.ts';
import { FieldReader, type FieldProblem } from '../policy/fields.ts';
import type { Labels, NetworkPolicy } from '../policy/model.ts';
import { decodeMetadata } from './objects-fields.ts';
import { decodeNode, decodeServiceCidr, type NodeObject, type ServiceCidrObject } from './objects-node.ts';
import { decodePod, type PodObject } from './objects-pod.ts';
import {
  decodeEndpointSlice,
  decodeService,
  type EndpointSliceObject,
  type ServiceObject,
} from './objects-service.ts';

/** Entries of all lists and maps of one object. */
const MOST_ENTRIES = 100_000;

/** An object of the cluster, reduced to what decides who is where and what is allowed. */
export type ClusterObject =
  | NamespaceObject
  | PodObject
  | NodeObject
  | ServiceObject
  | ServiceCidrObject
  | EndpointSliceObject
  | NetworkPolicyObject
  | ClusterPolicyObject;

export interface NamespaceObject {
  readonly kind: 'Namespace';
  readonly name: string;
  readonly labels: Labels;
  readonly annotations: Labels;
}

export interface NetworkPolicyObject {
  readonly kind: 'NetworkPolicy';
  readonly policy: NetworkPolicy;
}

/** A policy of the cluster's administrator, of whichever kind it was written. */
export interface ClusterPolicyObject {
  readonly kind: 'ClusterPolicy';
  readonly policy: ClusterPolicy;
}

/** What came of an object. `ignored`: a kind that decides nothing here. */
export type Decoded =
  | { readonly object: ClusterObject; readonly warnings: readonly FieldProblem[] }
  | { readonly problems: readonly FieldProblem[] }
  | 'ignored';

type Decoder = (reader: FieldReader, root: Record<string, unknown>) => ClusterObject;

const KINDS: ReadonlyMap<string, { readonly apiVersion: string; readonly decode: Decoder | undefined }> =
  new Map([
    ['Namespace', { apiVersion: 'v1', decode: decodeNamespace }],
    ['Pod', { apiVersion: 'v1', decode: decodePod }],
    ['Node', { apiVersion: 'v1', decode: decodeNode }],
    ['Service', { apiVersion: 'v1', decode: decodeService }],
    ['ServiceCIDR', { apiVersion: 'networking.k8s.io/v1', decode: decodeServiceCidr }],
    ['EndpointSlice', { apiVersion: 'discovery.k8s.io/v1', decode: decodeEndpointSlice }],
    ['NetworkPolicy', { apiVersion: 'networking.k8s.io/v1', decode: undefined }],
  ]);
/** The other kinds of the group of NetworkPolicy: whatever else claims to be of it is a misspelt policy. */
const NETWORKING_KINDS = new Set(['Ingress', 'IngressClass', 'IPAddress', 'ServiceCIDR', 'NetworkPolicy']);

/** Reads one object of the kinds that matter, as the API serves it. */
export function decodeObject(value: unknown): Decoded {
  const reader = new FieldReader(MOST_ENTRIES);
  const root = reader.object(value, '');
  const kind = root?.['kind'];
  if (root === undefined || typeof kind !== 'string' || kind === '') {
    return { problems: [{ field: 'kind', reason: 'is missing: this is no Kubernetes object' }] };
  }
  const { apiVersion } = root;
  if (typeof apiVersion !== 'string') {
    return { problems: [{ field: 'apiVersion', reason: 'is missing: this is no Kubernetes object' }] };
  }
  if (CLUSTER_FORMS.some((form) => form.kind === kind && groupOf(form.apiVersion) === groupOf(apiVersion))) {
    const decoded = decodeClusterPolicy(value);
    return 'problems' in decoded
      ? decoded
      : { object: { kind: 'ClusterPolicy', policy: decoded.policy }, warnings: decoded.warnings };
  }
  const known = KINDS.get(kind);
  if (known === undefined || groupOf(apiVersion) !== groupOf(known.apiVersion)) {
    return otherKind(kind, apiVersion);
  }
  if (apiVersion !== known.apiVersion) {
    return { problems: [{ field: 'apiVersion', reason: `must be ${known.apiVersion} for a ${kind}` }] };
  }
  if (known.decode === undefined) {
    const decoded = decodeNetworkPolicy(value);
    return 'problems' in decoded
      ? decoded
      : { object: { kind: 'NetworkPolicy', policy: decoded.policy }, warnings: decoded.warnings };
  }
  const object = known.decode(reader, root);
  return reader.problems.length > 0 ? { problems: reader.problems } : { object, warnings: [] };
}

/** Most other kinds say nothing about connections; those that look like a policy and would not be one are told of. */
function otherKind(kind: string, apiVersion: string): Decoded {
  const group = groupOf(apiVersion);
  if (kind === 'NetworkPolicy' && (group === 'extensions' || group === '')) {
    return {
      problems: [{ field: 'apiVersion', reason: 'must be networking.k8s.io/v1 for a NetworkPolicy' }],
    };
  }
  if (group === 'networking.k8s.io' && !NETWORKING_KINDS.has(kind)) {
    return { problems: [{ field: 'kind', reason: `is not one of ${group}: did you mean NetworkPolicy?` }] };
  }
  return 'ignored';
}

/** `networking.k8s.io` of `networking.k8s.io/v1`; the core group is the empty text. */
function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

function decodeNamespace(reader: FieldReader, root: Record<string, unknown>): NamespaceObject {
  const { name, labels, annotations } = decodeMetadata(reader, root['metadata']);
  return { kind: 'Namespace', name, labels, annotations };
}
