import type { InjectNamespace } from './inject-pod.ts';

/** The namespaces among objects, by name: their labels opt in, their annotations grant. */
export function namespacesAmong(objects: readonly unknown[]): ReadonlyMap<string, InjectNamespace> {
  const found = new Map<string, InjectNamespace>();
  for (const object of objects) {
    const { kind, metadata, items } = object as {
      kind?: unknown;
      metadata?: Record<string, unknown>;
      items?: unknown;
    };
    if (kind === 'Namespace' && typeof metadata?.['name'] === 'string') {
      const name = metadata['name'];
      found.set(name, {
        name,
        labels: texts(metadata['labels']),
        annotations: texts(metadata['annotations']),
      });
    }
    if (Array.isArray(items)) for (const [name, one] of namespacesAmong(items)) found.set(name, one);
  }
  return found;
}

function texts(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(typeof value === 'object' && value !== null ? value : {}).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}
