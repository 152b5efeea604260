import { isAlias, isMap, isScalar, isSeq, type Node, type Pair } from 'yaml';

/** A key that no object of the API has: one that stands there twice, or that is no plain value. */
export function faultyKey(node: unknown): { readonly reason: string; readonly offset: number } | undefined {
  if (isSeq(node)) return firstOf(node.items, faultyKey);
  if (!isMap(node)) return undefined;
  const seen = new Set<string>();
  return firstOf(node.items, (pair: Pair) => {
    const { key, value } = pair;
    const offset = (key as Node | null)?.range?.[0] ?? node.range?.[0] ?? 0;
    if (!isScalar(key)) return { reason: 'a key must be a text', offset };
    const text = String(key.value);
    if (seen.has(text))
      return { reason: `the key ${JSON.stringify(text.slice(0, 60))} is there twice`, offset };
    seen.add(text);
    return faultyKey(value);
  });
}

function firstOf<T, R>(items: readonly T[], find: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Whether a field has a name and nothing behind it, as where a text was cut off; a written `null` is something. */
export function isBlank(root: unknown, field: string): boolean {
  let node = root;
  for (const [, name, bracketed] of field.matchAll(/([^.[\]]+)|\[([^\]]*)\]/g)) {
    const step = name ?? bracketed ?? '';
    if (isSeq(node)) node = node.items[Number(step)];
    else if (isMap(node))
      node = node.items.find(({ key }) => isScalar(key) && String(key.value) === step)?.value;
    // A key with dots, or an alias: it is not told apart, and counts as cut off.
    else return true;
  }
  return !isScalar(node) || (node.value === null && (node.source ?? '') === '');
}

/** Where a field stands in the text, or as much of its path as is there. */
export function positionOf(root: unknown, field: string): number {
  let node = root;
  let position = (root as Node | null)?.range?.[0] ?? 0;
  for (const [, name, bracketed] of field.matchAll(/([^.[\]]+)|\[([^\]]*)\]/g)) {
    const step = name ?? bracketed ?? '';
    if (isAlias(node)) return position;
    if (isSeq(node)) {
      node = node.items[Number(step)];
      position = (node as Node | undefined)?.range?.[0] ?? position;
    } else if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step);
      if (pair === undefined) return position;
      position = (pair.key as Node).range?.[0] ?? position;
      node = pair.value;
    } else return position;
  }
  return position;
}
