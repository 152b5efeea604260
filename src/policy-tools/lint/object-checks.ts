import { type Finding, type LintInput, policyName, rulesOf, someOf } from './finding.ts';

/** Objects that the API server would refuse: they are not there, whatever their author thinks. */
export function* refusedObjects({ inventory }: LintInput): Generator<Finding> {
  for (const { object, problems, origin } of inventory.refused) {
    for (const { field, reason } of problems) {
      const duplicate = field === 'metadata.name' && reason.includes('before this one');
      yield {
        rule: 'refused-object',
        level: 'error',
        object,
        field,
        why: `the API server refuses the object: ${field} ${reason}`,
        remedy: duplicate ? 'rename one of them, or remove it' : `correct ${field}`,
        origin,
      };
    }
  }
}

/** Fields that the API does not know, and values that it reads otherwise than they look. */
export function* oddFields({ inventory }: LintInput): Generator<Finding> {
  for (const { object, field, reason, origin } of inventory.oddities) {
    const unknown = reason.startsWith('is no field');
    yield {
      rule: unknown ? 'unknown-field' : 'odd-value',
      level: 'warning',
      object,
      field,
      why: `${field} ${reason}`,
      remedy: unknown
        ? 'correct the spelling or indentation, or remove it: without it a rule may mean everybody'
        : 'write what is meant',
      origin,
    };
  }
}

/** Rules for a direction that the policy does not speak about. */
export function* rulesWithoutType({ inventory }: LintInput): Generator<Finding> {
  for (const policy of inventory.policies) {
    for (const direction of ['ingress', 'egress'] as const) {
      const type = direction === 'ingress' ? 'Ingress' : 'Egress';
      if (policy[direction].length === 0 || policy.policyTypes.includes(type)) continue;
      yield {
        rule: 'rules-without-type',
        level: 'error',
        object: policyName(policy),
        field: `spec.${direction}`,
        why: `policyTypes does not list ${type}: these rules have no effect, and the pods are not isolated by them`,
        remedy: `add ${type} to spec.policyTypes, or remove spec.${direction}`,
      };
    }
  }
}

/** `from: []` looks like nobody and means everybody. */
export function* emptyLists({ inventory }: LintInput): Generator<Finding> {
  for (const policy of inventory.policies) {
    for (const { direction, rule, field } of rulesOf(policy)) {
      const peers = direction === 'ingress' ? 'from' : 'to';
      if (rule.peers?.length === 0) {
        yield {
          rule: 'empty-means-everybody',
          level: 'warning',
          object: policyName(policy),
          field: `${field}.${peers}`,
          why: `an empty ${peers} means everybody, not nobody`,
          remedy: `to allow nobody, remove the rule; to allow everybody, leave ${peers} out, which is easier to read`,
        };
      }
      if (rule.ports?.length === 0) {
        yield {
          rule: 'empty-means-everybody',
          level: 'warning',
          object: policyName(policy),
          field: `${field}.ports`,
          why: 'an empty ports means every port, not none',
          remedy: 'leave ports out, or name the ports',
        };
      }
    }
  }
}

/** Namespaces that policies or pods are in and no manifest describes. */
export function* missingNamespaces({ inventory, pods }: LintInput): Generator<Finding> {
  if (inventory.namespaces.size === 0) return;
  const used = new Map<string, string[]>();
  for (const { namespace, name } of pods) {
    used.set(namespace, [...(used.get(namespace) ?? []), `${namespace}/${name}`]);
  }
  for (const [namespace, names] of used) {
    if (inventory.namespaces.has(namespace)) continue;
    yield {
      rule: 'namespace-missing',
      level: 'note',
      object: `Namespace /${namespace}`,
      field: 'metadata',
      why: `${someOf(names)} are in it, and its manifest is not here: a namespaceSelector is judged as if it had no label but its name`,
      remedy: 'add the manifest of the namespace to the input',
    };
  }
}
