import type { LabelRequirement, Labels, LabelSelector } from './model.ts';

/**
 * The label that the API server puts on every namespace, whatever its manifest says, and that nobody can change. A namespace
 * selector that asks for it is answered from the namespace's name, so a hand-written manifest without it answers alike.
 */
export const NAMESPACE_NAME_LABEL = 'kubernetes.io/metadata.name';

/** A label selector ready to be asked often. Every requirement must hold; none at all means that everything matches. */
export interface CompiledSelector {
  readonly requirements: readonly CompiledRequirement[];
}

/** `matchLabels` and `matchExpressions` in one shape: `app: web` is `app In (web)`. */
export interface CompiledRequirement {
  readonly key: string;
  readonly operator: LabelRequirement['operator'];
  readonly values: ReadonlySet<string>;
}

/** Compiles a selector; the order is matchLabels, then matchExpressions, each as written. */
export function compileSelector(selector: LabelSelector): CompiledSelector {
  const requirements: CompiledRequirement[] = [];
  for (const key of Object.keys(selector.matchLabels)) {
    requirements.push({ key, operator: 'In', values: new Set([selector.matchLabels[key]!]) });
  }
  for (const { key, operator, values } of selector.matchExpressions) {
    requirements.push({ key, operator, values: new Set(values) });
  }
  return { requirements };
}

/**
 * Whether a selector matches these labels.
 * @param namespace the name of the namespace, when the labels are those of a namespace
 */
export function selectorMatches(selector: CompiledSelector, labels: Labels, namespace?: string): boolean {
  const { requirements } = selector;
  for (let index = 0; index < requirements.length; index++) {
    const requirement = requirements[index]!;
    if (!requirementHolds(requirement, labelOf(labels, requirement.key, namespace))) return false;
  }
  return true;
}

/**
 * Whether one requirement holds for a label's value; undefined means that the object has no such label. `NotIn` holds for an
 * object without the label (apimachinery `labels.Requirement.Matches`).
 */
export function requirementHolds(requirement: CompiledRequirement, value: string | undefined): boolean {
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && requirement.values.has(value);
    case 'NotIn':
      return value === undefined || !requirement.values.has(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

/** The value of a label, undefined when there is none; `namespace` as in {@link selectorMatches}. */
export function labelOf(labels: Labels, key: string, namespace?: string): string | undefined {
  if (namespace !== undefined && key === NAMESPACE_NAME_LABEL) return namespace;
  // `constructor` and `toString` are lawful label keys: what an object inherits is not a label.
  const value: unknown = labels[key];
  return typeof value === 'string' ? value : undefined;
}
