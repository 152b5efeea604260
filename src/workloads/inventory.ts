import type { ClusterPolicy } from '../policy/cluster-model.ts';
import type { FieldProblem } from '../policy/fields.ts';
import type { NetworkPolicy } from '../policy/model.ts';
import { decodeObject } from './decode-object.ts';
import { objectKind } from './object-kinds.ts';
import type { ClusterNamespace, ClusterNode, DecodedObject, Workload } from './workload.ts';

/** An object as it was written, and where. */
export interface ManifestObject {
  readonly value: unknown;
  readonly origin?: Origin;
}

export interface Origin {
  readonly file: string;
  readonly line: number;
}

/** An object that the API server would refuse. */
export interface Refusal {
  /** `NetworkPolicy shop/db-allow`; objects without namespace: `Namespace /shop`. */
  readonly object: string;
  readonly problems: readonly FieldProblem[];
  readonly origin?: Origin | undefined;
}

/** Something odd about an object that counts all the same. */
export interface Oddity extends FieldProblem {
  readonly object: string;
  readonly origin?: Origin | undefined;
}

/** Everything that decides, each object once. */
export interface Inventory {
  readonly namespaces: ReadonlyMap<string, ClusterNamespace>;
  readonly nodes: ReadonlyMap<string, ClusterNode>;
  readonly workloads: readonly Workload[];
  readonly policies: readonly NetworkPolicy[];
  readonly clusterPolicies: readonly ClusterPolicy[];
  readonly refused: readonly Refusal[];
  readonly oddities: readonly Oddity[];
  /** Where an object was read, by {@link objectName}. */
  readonly origins: ReadonlyMap<string, Origin>;
}

/**
 * Reads objects. A `List` counts as its items; of two objects with one name the API server refuses the second.
 * @param defaultNamespace where objects are that name no namespace
 */
export function takeInventory(objects: Iterable<ManifestObject>, defaultNamespace = 'default'): Inventory {
  const namespaces = new Map<string, ClusterNamespace>();
  const nodes = new Map<string, ClusterNode>();
  const workloads: Workload[] = [];
  const policies: NetworkPolicy[] = [];
  const clusterPolicies: ClusterPolicy[] = [];
  const refused: Refusal[] = [];
  const oddities: Oddity[] = [];
  const origins = new Map<string, Origin>();
  const seen = new Set<string>();
  for (const { value: written, origin } of flattened(objects)) {
    const value = defaultNamespace === 'default' ? written : placed(written, defaultNamespace);
    const decoded = decodeObject(value);
    if (decoded === 'ignored') continue;
    const object = objectName(value);
    if ('problems' in decoded) {
      refused.push({ object, problems: decoded.problems, origin });
      continue;
    }
    if (seen.has(object)) {
      const reason = 'is the name of an object before this one, which counts';
      refused.push({ object, problems: [{ field: 'metadata.name', reason }], origin });
      continue;
    }
    seen.add(object);
    if (origin !== undefined) origins.set(object, origin);
    for (const warning of decoded.warnings) oddities.push({ ...warning, object, origin });
    keep(decoded.object);
  }
  return { namespaces, nodes, workloads, policies, clusterPolicies, refused, oddities, origins };

  function keep(object: DecodedObject): void {
    switch (object.kind) {
      case 'namespace':
        namespaces.set(object.namespace.name, object.namespace);
        return;
      case 'node':
        nodes.set(object.node.name, object.node);
        return;
      case 'workload':
        workloads.push(object.workload);
        return;
      case 'network-policy':
        policies.push(object.policy);
        return;
      case 'cluster-policy':
        clusterPolicies.push(object.policy);
    }
  }
}

/** `NetworkPolicy shop/db-allow: spec.ingress must be a list, not a text`. */
export function refusalText({ object, problems }: Refusal): string {
  const told = problems.slice(0, 3).map(({ field, reason }) => `${field} ${reason}`);
  const more = problems.length > told.length ? `; and ${problems.length - told.length} more` : '';
  return `${object}: ${told.join('; ')}${more}`;
}

/** `NetworkPolicy shop/db-allow`, `Namespace /shop`; bounded, since anybody may have written it. */
export function objectName(value: unknown): string {
  const { kind, metadata } = asObject(value);
  const { namespace, name, generateName } = asObject(metadata);
  const kindText = short(kind) || 'Object';
  const nameText = short(name) || short(generateName);
  if (objectKind(kindText)?.scope === 'cluster') return `${kindText} /${nameText}`;
  return `${kindText} ${short(namespace) || 'default'}/${nameText}`;
}

// As `kubectl apply -n` does for objects without a namespace.
function placed(value: unknown, namespace: string): unknown {
  const { kind, metadata } = asObject(value);
  const { namespace: own } = asObject(metadata);
  if (typeof kind !== 'string' || objectKind(kind)?.scope !== 'namespaced') return value;
  if (typeof metadata !== 'object' || (own !== undefined && own !== null && own !== '')) return value;
  return { ...asObject(value), metadata: { ...asObject(metadata), namespace } };
}

const DEEPEST_LIST = 8;

function* flattened(objects: Iterable<ManifestObject>, depth = 0): Generator<ManifestObject> {
  for (const object of objects) {
    const { kind, items } = asObject(object.value);
    const isList = typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items);
    if (!isList || depth >= DEEPEST_LIST) {
      yield object;
      continue;
    }
    // Items of a typed list (`PodList`) carry no kind of their own in what the API serves.
    const itemKind = kind === 'List' ? undefined : kind.slice(0, -'List'.length);
    const { apiVersion } = asObject(object.value);
    const of = (value: unknown): ManifestObject => {
      const typed =
        itemKind === undefined || asObject(value)['kind'] !== undefined
          ? value
          : { apiVersion, kind: itemKind, ...asObject(value) };
      return object.origin === undefined ? { value: typed } : { value: typed, origin: object.origin };
    };
    yield* flattened(items.map(of), depth + 1);
  }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function short(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, 253) : '';
}
