import { canonicalAddress } from '../lib/address.ts';
import { CLUSTER_FORMS } from '../policy/cluster-forms.ts';
import { decodeClusterPolicy } from '../policy/decode-cluster.ts';
import { decodeNetworkPolicy } from '../policy/decode.ts';
import { decodeSelector } from '../policy/decode-selector.ts';
import { FieldReader } from '../policy/fields.ts';
import { decodeObjectMetadata, type ObjectMetadata } from '../policy/metadata.ts';
import type { LabelSelector } from '../policy/model.ts';
import { compileSelector, selectorMatches } from '../policy/selector.ts';
import { type ObjectKind, objectKind } from './object-kinds.ts';
import { decodePodSpec } from './pod-spec.ts';
import type { DecodedObject, DecodeResult, Workload } from './workload.ts';

/** Entries of all lists and maps of one object. An object of that size would not fit into the API server's storage. */
const MOST_ENTRIES = 200_000;

/** Reads one object from parsed YAML or JSON, validated as the API server does, as far as verdicts depend on it. */
export function decodeObject(value: unknown): DecodeResult {
  const reader = new FieldReader(MOST_ENTRIES);
  const root = reader.object(value, '');
  if (root === undefined) {
    return {
      problems: [{ field: 'object', reason: 'must be an object with apiVersion, kind and metadata' }],
    };
  }
  const { kind: kindName } = root;
  if (typeof kindName !== 'string' || kindName === '') {
    return { problems: [{ field: 'kind', reason: 'must be given' }] };
  }
  const kind = objectKind(kindName);
  if (kind === undefined) return 'ignored';
  const { apiVersion } = root;
  if (typeof apiVersion !== 'string' || !kind.apiVersions.includes(apiVersion)) {
    // Another group may have a kind of the same name; an old version of ours is refused.
    if (typeof apiVersion === 'string' && isForeign(kind, apiVersion)) return 'ignored';
    const reason = `must be ${kind.apiVersions.join(' or ')} for a ${kind.kind}`;
    return { problems: [{ field: 'apiVersion', reason }] };
  }
  if (kind.kind === 'NetworkPolicy') {
    const decoded = decodeNetworkPolicy(value);
    if ('problems' in decoded) return decoded;
    return { object: { kind: 'network-policy', policy: decoded.policy }, warnings: decoded.warnings };
  }
  if (CLUSTER_FORMS.some((form) => form.kind === kind.kind)) {
    const decoded = decodeClusterPolicy(value);
    if ('problems' in decoded) return decoded;
    return { object: { kind: 'cluster-policy', policy: decoded.policy }, warnings: decoded.warnings };
  }
  const metadata = decodeObjectMetadata(reader, root['metadata'], kind.scope, kind.nameFault);
  const object = decodeKind(reader, kind, root, metadata);
  return reader.problems.length > 0 ? { problems: reader.problems } : { object, warnings: reader.warnings };
}

/** Groups that have carried kinds of ours: what is written for them is meant for us, and refused by today's API server. */
const FORMER_GROUPS: Readonly<Record<string, readonly string[]>> = {
  NetworkPolicy: ['networking.k8s.io', 'extensions'],
  Deployment: ['apps', 'extensions'],
  DaemonSet: ['apps', 'extensions'],
  ReplicaSet: ['apps', 'extensions'],
  StatefulSet: ['apps'],
  Job: ['batch'],
  CronJob: ['batch'],
  ClusterNetworkPolicy: ['policy.networking.k8s.io'],
  AdminNetworkPolicy: ['policy.networking.k8s.io'],
  BaselineAdminNetworkPolicy: ['policy.networking.k8s.io'],
};

function isForeign(kind: ObjectKind, apiVersion: string): boolean {
  const slash = apiVersion.indexOf('/');
  if (slash < 0) return false;
  const group = apiVersion.slice(0, slash);
  return !(FORMER_GROUPS[kind.kind] ?? []).includes(group);
}

function decodeKind(
  reader: FieldReader,
  kind: ObjectKind,
  root: Record<string, unknown>,
  metadata: ObjectMetadata,
): DecodedObject {
  const { name, labels } = metadata;
  if (kind.kind === 'Namespace') return { kind: 'namespace', namespace: { name, labels } };
  if (kind.kind === 'Node') {
    return { kind: 'node', node: { name, labels, addresses: nodeAddresses(reader, root['status']) } };
  }
  const owned =
    (reader.list(rootMetadata(root)['ownerReferences'], 'metadata.ownerReferences') ?? []).length > 0;
  return {
    kind: 'workload',
    workload:
      kind.template === undefined
        ? decodePod(reader, root, metadata, owned)
        : decodeTemplate(reader, kind, root, metadata, owned),
  };
}

function decodePod(
  reader: FieldReader,
  root: Record<string, unknown>,
  { namespace, name, labels }: ObjectMetadata,
  owned: boolean,
): Workload {
  const spec = decodePodSpec(reader, root['spec'], 'spec');
  const status = reader.object(root['status'], 'status') ?? {};
  const phase = reader.text(status['phase'], 'status.phase');
  return {
    ...spec,
    namespace,
    name,
    isTemplate: false,
    labels,
    fixedLabels: [],
    addresses: statusAddresses(reader, status, 'podIP', 'podIPs'),
    hostAddresses: statusAddresses(reader, status, 'hostIP', 'hostIPs'),
    finished: phase === 'Succeeded' || phase === 'Failed',
    terminating: (rootMetadata(root)['deletionTimestamp'] ?? undefined) !== undefined,
    owned,
  };
}

function decodeTemplate(
  reader: FieldReader,
  kind: ObjectKind,
  root: Record<string, unknown>,
  { namespace, name }: ObjectMetadata,
  owned: boolean,
): Workload {
  let field = '';
  let value: unknown = root;
  for (const key of kind.template!) {
    field = field === '' ? key : `${field}.${key}`;
    value = reader.object(value, field)?.[key];
  }
  const template = reader.object(value, field);
  if (template === undefined) reader.problem(field, 'must be given');
  const { labels } = decodeObjectMetadata(
    reader,
    // A template's name means nothing, and it mostly has none.
    { ...reader.object(template?.['metadata'], `${field}.metadata`), name: 'pod' },
    'namespaced',
  );
  const spec = decodePodSpec(reader, template?.['spec'], `${field}.spec`);
  const selector = kind.apiVersions[0] === 'apps/v1' ? rootSpec(root)['selector'] : undefined;
  const decoded = decodeSelector(reader, selector, 'spec.selector');
  if (decoded !== undefined && !selectorMatches(compileSelector(decoded), labels))
    reader.problem('spec.selector', `must match the labels of ${field}, which it does not`);
  return {
    ...spec,
    namespace,
    name: `${kind.short}/${name}`,
    isTemplate: true,
    labels,
    fixedLabels: keysOf(decoded),
    addresses: [],
    hostAddresses: [],
    finished: false,
    terminating: false,
    owned,
  };
}

function keysOf(selector: LabelSelector | undefined): readonly string[] {
  if (selector === undefined) return [];
  return [...Object.keys(selector.matchLabels), ...selector.matchExpressions.map(({ key }) => key)];
}

function statusAddresses(
  reader: FieldReader,
  status: Record<string, unknown>,
  single: string,
  plural: string,
): readonly string[] {
  const written: [unknown, string][] = [[status[single], `status.${single}`]];
  for (const [index, entry] of (reader.list(status[plural], `status.${plural}`) ?? []).entries()) {
    const field = `status.${plural}[${index}]`;
    written.push([reader.object(entry, field)?.['ip'], `${field}.ip`]);
  }
  return canonical(reader, written);
}

function nodeAddresses(reader: FieldReader, value: unknown): readonly string[] {
  const status = reader.object(value, 'status') ?? {};
  const list = reader.list(status['addresses'], 'status.addresses') ?? [];
  const written = list.flatMap((entry, index): [unknown, string][] => {
    const field = `status.addresses[${index}]`;
    const address = reader.object(entry, field) ?? {};
    // The other types are names.
    if (address['type'] !== 'InternalIP' && address['type'] !== 'ExternalIP') return [];
    return [[address['address'], `${field}.address`]];
  });
  return canonical(reader, written);
}

function canonical(reader: FieldReader, written: readonly [unknown, string][]): readonly string[] {
  const addresses: string[] = [];
  for (const [value, field] of written) {
    const text = reader.text(value, field) ?? '';
    if (text === '') continue;
    const address = canonicalAddress(text);
    if (address === undefined) reader.problem(field, 'must be an IP address');
    else if (!addresses.includes(address)) addresses.push(address);
  }
  return addresses;
}

function rootMetadata(root: Record<string, unknown>): Record<string, unknown> {
  return plain(root['metadata']);
}

function rootSpec(root: Record<string, unknown>): Record<string, unknown> {
  return plain(root['spec']);
}

function plain(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
