import { decodeRule } from './decode-rule.ts';
import { decodeSelector } from './decode-selector.ts';
import { type FieldProblem, FieldReader } from './fields.ts';
import { decodeObjectMetadata } from './metadata.ts';
import type { NetworkPolicy, PolicyRule } from './model.ts';

/** A policy that counts (with what is odd about it), or why the API server would refuse the object. */
export type DecodedNetworkPolicy =
  | { readonly policy: NetworkPolicy; readonly warnings: readonly FieldProblem[] }
  | { readonly problems: readonly FieldProblem[] };

/** Entries of all lists and maps of one policy. An object of that size would not fit into the API server's storage. */
const MOST_ENTRIES = 200_000;
const POLICY_TYPES = ['Ingress', 'Egress'] as const;

/**
 * Reads a NetworkPolicy (networking.k8s.io/v1) from parsed YAML or JSON: validated and defaulted as the API server does on
 * creation (`pkg/apis/networking/validation`, `pkg/apis/networking/v1/defaults.go`). Either the whole object counts or none of
 * it. Without a namespace it is in `default`, where kubectl would put it.
 */
export function decodeNetworkPolicy(object: unknown): DecodedNetworkPolicy {
  const reader = new FieldReader(MOST_ENTRIES);
  const root = reader.object(object, '', ['apiVersion', 'kind', 'metadata', 'spec', 'status']) ?? {};
  if (root['apiVersion'] !== 'networking.k8s.io/v1')
    reader.problem('apiVersion', 'must be networking.k8s.io/v1');
  if (root['kind'] !== 'NetworkPolicy') reader.problem('kind', 'must be NetworkPolicy');
  const { namespace, name } = decodeObjectMetadata(reader, root['metadata'], 'namespaced');
  const spec = reader.object(root['spec'], 'spec', ['podSelector', 'ingress', 'egress', 'policyTypes']) ?? {};
  const rules = (direction: 'ingress' | 'egress', peersField: 'from' | 'to'): PolicyRule[] =>
    (reader.list(spec[direction], `spec.${direction}`) ?? []).map((rule, index) =>
      decodeRule(reader, rule, `spec.${direction}[${index}]`, peersField),
    );
  const podSelector = decodeSelector(reader, spec['podSelector'], 'spec.podSelector');
  const ingress = rules('ingress', 'from');
  const egress = rules('egress', 'to');
  const policyTypes = decodePolicyTypes(reader, spec['policyTypes'], egress.length > 0);
  if (reader.problems.length > 0) return { problems: reader.problems };
  return {
    policy: {
      namespace,
      name,
      podSelector: podSelector ?? { matchLabels: {}, matchExpressions: [] },
      policyTypes,
      ingress,
      egress,
    },
    warnings: reader.warnings,
  };
}

// Missing, null and empty are the same: Ingress always, Egress where the policy has an egress rule.
function decodePolicyTypes(
  reader: FieldReader,
  value: unknown,
  hasEgressRules: boolean,
): NetworkPolicy['policyTypes'] {
  const list = reader.list(value, 'spec.policyTypes') ?? [];
  if (list.length === 0) return hasEgressRules ? ['Ingress', 'Egress'] : ['Ingress'];
  if (list.length > POLICY_TYPES.length) {
    reader.problem('spec.policyTypes', 'may have two entries at most');
    return [];
  }
  return list.flatMap((one, index) => {
    const known = POLICY_TYPES.find((type) => type === one);
    if (known !== undefined) return [known];
    reader.problem(`spec.policyTypes[${index}]`, `must be one of ${POLICY_TYPES.join(', ')}`);
    return [];
  });
}
