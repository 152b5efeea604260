import type { FieldReader } from './fields.ts';
import type { LabelRequirement, LabelSelector } from './model.ts';
import { labelKeyFault, labelValueFault } from './syntax.ts';

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

/** Reads a label selector (metav1 `LabelSelector`). @returns undefined when it is missing: the caller knows what that means */
export function decodeSelector(
  reader: FieldReader,
  value: unknown,
  field: string,
): LabelSelector | undefined {
  const object = reader.object(value, field, ['matchLabels', 'matchExpressions']);
  if (object === undefined) return undefined;
  const matchLabels = reader.texts(object['matchLabels'], `${field}.matchLabels`);
  for (const [key, label] of Object.entries(matchLabels)) {
    checkLabel(reader, key, label, `${field}.matchLabels[${key}]`);
  }
  const expressions = reader.list(object['matchExpressions'], `${field}.matchExpressions`) ?? [];
  const matchExpressions = expressions.map((one, index) =>
    decodeRequirement(reader, one, `${field}.matchExpressions[${index}]`),
  );
  return { matchLabels, matchExpressions: matchExpressions.filter((one) => one !== undefined) };
}

/** Tells what is wrong with a label's key or value. */
export function checkLabel(reader: FieldReader, key: string, value: string, field: string): void {
  const keyFault = labelKeyFault(key);
  if (keyFault !== undefined) reader.problem(field, `as a label key: ${keyFault}`);
  const valueFault = labelValueFault(value);
  if (valueFault !== undefined) reader.problem(field, `the label value ${valueFault}`);
}

function decodeRequirement(reader: FieldReader, value: unknown, field: string): LabelRequirement | undefined {
  const object = reader.object(value, field, ['key', 'operator', 'values']) ?? {};
  const key = reader.text(object['key'], `${field}.key`) ?? '';
  const operator = reader.text(object['operator'], `${field}.operator`) ?? '';
  const values = (reader.list(object['values'], `${field}.values`) ?? []).map((one, index) => {
    const text = reader.text(one, `${field}.values[${index}]`) ?? '';
    const fault = labelValueFault(text);
    if (fault !== undefined) reader.problem(`${field}.values[${index}]`, `the label value ${fault}`);
    return text;
  });
  const fault = labelKeyFault(key);
  if (fault !== undefined) reader.problem(`${field}.key`, `as a label key: ${fault}`);
  const known = OPERATORS.find((one) => one === operator);
  if (known === undefined) {
    reader.problem(`${field}.operator`, `must be one of ${OPERATORS.join(', ')}`);
    return undefined;
  }
  const takesValues = known === 'In' || known === 'NotIn';
  if (takesValues && values.length === 0)
    reader.problem(`${field}.values`, `must be given with the operator ${known}`);
  if (!takesValues && values.length > 0)
    reader.problem(`${field}.values`, `must be left out with the operator ${known}`);
  return { key, operator: known, values };
}
