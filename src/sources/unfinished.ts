import type { FieldProblem } from '../policy/fields.ts';

/**
 * Fields of a NetworkPolicy's rules that are named and have no value. The API takes such a field for missing, and that opens the rule: `from:` alone is
 * everybody, `matchLabels:` alone is every pod. It is also what is left of a file that was cut off, and kubectl never prints it; so where nothing
 * at all is written behind the name, a folder refuses it. A written `null` means what it means to the API.
 */
export function unfinishedFields(value: unknown): FieldProblem[] {
  const { kind, spec } = (value ?? {}) as { kind?: unknown; spec?: unknown };
  if (kind !== 'NetworkPolicy' || typeof spec !== 'object' || spec === null) return [];
  const { ingress, egress } = spec as { ingress?: unknown; egress?: unknown };
  const found: FieldProblem[] = [];
  const walk = (node: unknown, field: string, depth: number): void => {
    if (found.length >= 10 || depth > 20) return;
    if (node === null) {
      found.push({ field, reason: 'has no value, which would open the rule; give it one or take it out' });
    } else if (Array.isArray(node)) {
      for (const [index, item] of node.entries()) walk(item, `${field}[${index}]`, depth + 1);
    } else if (typeof node === 'object') {
      for (const [key, item] of Object.entries(node as object)) walk(item, `${field}.${key}`, depth + 1);
    }
  };
  // `ingress:` alone is no rule at all and allows nothing.
  if (Array.isArray(ingress)) walk(ingress, 'spec.ingress', 0);
  if (Array.isArray(egress)) walk(egress, 'spec.egress', 0);
  return found;
}
