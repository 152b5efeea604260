import type { ClusterPolicy, PodSelection } from './cluster-model.ts';
import { CLUSTER_FORMS, type ClusterForm } from './cluster-forms.ts';
import { decodeClusterRule } from './decode-cluster-rule.ts';
import { decodeSelector } from './decode-selector.ts';
import { type FieldProblem, FieldReader } from './fields.ts';
import { decodeObjectMetadata } from './metadata.ts';
import type { LabelSelector } from './model.ts';

/** A cluster policy that counts, or why the API server would refuse the object. */
export type DecodedClusterPolicy =
  | { readonly policy: ClusterPolicy; readonly warnings: readonly FieldProblem[] }
  | { readonly problems: readonly FieldProblem[] };

const MOST_ENTRIES = 200_000;
const HIGHEST_PRIORITY = 1000;
const TIERS = ['Admin', 'Baseline'] as const;

/**
 * Reads a ClusterNetworkPolicy, AdminNetworkPolicy or BaselineAdminNetworkPolicy from parsed YAML or JSON: validated and defaulted
 * as their CRDs (v1alpha2, experimental channel; v1alpha1 of release v0.1.7) have the API server do it.
 */
export function decodeClusterPolicy(object: unknown): DecodedClusterPolicy {
  const reader = new FieldReader(MOST_ENTRIES);
  const root = reader.object(object, '', ['apiVersion', 'kind', 'metadata', 'spec', 'status']) ?? {};
  const form = CLUSTER_FORMS.find((one) => one.kind === root['kind']);
  if (form === undefined) {
    reader.problem('kind', `must be one of ${CLUSTER_FORMS.map((one) => one.kind).join(', ')}`);
    return { problems: reader.problems };
  }
  if (root['apiVersion'] !== form.apiVersion)
    reader.problem('apiVersion', `must be ${form.apiVersion} for a ${form.kind}`);
  const { name } = decodeObjectMetadata(reader, root['metadata'], 'cluster');
  if (form.onlyName !== undefined && name !== form.onlyName)
    reader.problem('metadata.name', `must be ${form.onlyName}: there is one of this kind`);
  const spec = reader.object(root['spec'], 'spec', form.specFields);
  if (spec === undefined) reader.problem('spec', 'must be given');
  const policy: ClusterPolicy = {
    id: `${form.kind.toLowerCase()}/${name}`,
    tier: decodeTier(reader, spec?.['tier'], form),
    priority: decodePriority(reader, spec?.['priority'], form),
    subject: decodeSubject(reader, spec?.['subject']),
    ingress: decodeRules(reader, form, spec ?? {}, 'ingress'),
    egress: decodeRules(reader, form, spec ?? {}, 'egress'),
  };
  return reader.problems.length > 0 ? { problems: reader.problems } : { policy, warnings: reader.warnings };
}

function decodeTier(reader: FieldReader, value: unknown, form: ClusterForm): ClusterPolicy['tier'] {
  if (form.tier !== undefined) return form.tier;
  const tier = TIERS.find((one) => one === value);
  if (tier === undefined) reader.problem('spec.tier', `must be one of ${TIERS.join(', ')}`);
  return tier ?? 'Admin';
}

function decodePriority(reader: FieldReader, value: unknown, form: ClusterForm): number {
  if (!form.specFields.includes('priority')) return HIGHEST_PRIORITY + 1;
  const priority = reader.integer(value, 'spec.priority');
  if (priority === undefined || priority < 0 || priority > HIGHEST_PRIORITY)
    reader.problem('spec.priority', `must be given, from 0 to ${HIGHEST_PRIORITY}`);
  return priority ?? 0;
}

function decodeSubject(reader: FieldReader, value: unknown): PodSelection {
  const subject = reader.object(value, 'spec.subject', ['namespaces', 'pods']) ?? {};
  const selection = decodePodSelection(reader, subject, 'spec.subject');
  const given = ['namespaces', 'pods'].filter((key) => isGiven(subject[key]));
  if (given.length !== 1) reader.problem('spec.subject', 'must have exactly one of namespaces and pods');
  return selection ?? { namespaceSelector: EVERYTHING, podSelector: undefined };
}

const EVERYTHING: LabelSelector = { matchLabels: {}, matchExpressions: [] };

/** Reads `namespaces` or `pods` of a subject or peer; undefined when there is neither. */
export function decodePodSelection(
  reader: FieldReader,
  object: Record<string, unknown>,
  field: string,
): PodSelection | undefined {
  const namespaces = decodeSelector(reader, object['namespaces'], `${field}.namespaces`);
  if (namespaces !== undefined) return { namespaceSelector: namespaces, podSelector: undefined };
  const pods = reader.object(object['pods'], `${field}.pods`, ['namespaceSelector', 'podSelector']);
  if (pods === undefined) return undefined;
  const namespaceSelector = decodeSelector(
    reader,
    pods['namespaceSelector'],
    `${field}.pods.namespaceSelector`,
  );
  const podSelector = decodeSelector(reader, pods['podSelector'], `${field}.pods.podSelector`);
  if (podSelector === undefined) reader.problem(`${field}.pods.podSelector`, 'must be given; {} is all pods');
  if (namespaceSelector === undefined)
    reader.problem(`${field}.pods.namespaceSelector`, 'must be given; {} is all namespaces');
  return { namespaceSelector: namespaceSelector ?? EVERYTHING, podSelector };
}

function decodeRules(
  reader: FieldReader,
  form: ClusterForm,
  spec: Record<string, unknown>,
  direction: 'ingress' | 'egress',
) {
  const rules = reader.list(spec[direction], `spec.${direction}`) ?? [];
  if (rules.length > form.mostEntries)
    reader.problem(`spec.${direction}`, `may have ${form.mostEntries} rules at most`);
  return rules
    .slice(0, form.mostEntries)
    .map((rule, index) => decodeClusterRule(reader, form, rule, `spec.${direction}[${index}]`, direction));
}

/** The API drops null, and what is dropped does not count as given. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}
