import { checkLabel } from './decode-selector.ts';
import type { FieldReader } from './fields.ts';
import type { Labels } from './model.ts';
import { dnsLabelFault, dnsSubdomainFault, labelKeyFault } from './syntax.ts';

/** What decides from an object's metadata. */
export interface ObjectMetadata {
  /** `default` where it is left out, which is where kubectl would put the object; empty for objects without namespace. */
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
}

const MOST_ANNOTATION_BYTES = 262_144;

/** Reads and validates `metadata` as the API server does on creation (`ValidateObjectMeta`), as far as verdicts depend on it. */
export function decodeObjectMetadata(
  reader: FieldReader,
  value: unknown,
  scope: 'namespaced' | 'cluster',
  nameRule: (text: string) => string | undefined = dnsSubdomainFault,
): ObjectMetadata {
  const metadata = reader.object(value, 'metadata') ?? {};
  const generated = reader.text(metadata['generateName'], 'metadata.generateName') ?? '';
  const name = reader.text(metadata['name'], 'metadata.name') ?? '';
  const namespace = reader.text(metadata['namespace'], 'metadata.namespace') ?? '';
  const nameFault =
    name === '' && generated !== ''
      ? nameRule(generated.replace(/-$/, 'a'))
      : name === ''
        ? 'must be given'
        : nameRule(name);
  if (nameFault !== undefined) reader.problem('metadata.name', nameFault);
  if (scope === 'namespaced') {
    const namespaceFault = namespace === '' ? undefined : dnsLabelFault(namespace);
    if (namespaceFault !== undefined) reader.problem('metadata.namespace', namespaceFault);
  } else if (namespace !== '' && namespace !== 'default') {
    // The API server lets pass what clients put there by default.
    reader.problem('metadata.namespace', 'must be left out: objects of this kind are in no namespace');
  }
  const labels = reader.texts(metadata['labels'], 'metadata.labels');
  for (const key of Object.keys(labels)) checkLabel(reader, key, labels[key]!, `metadata.labels[${key}]`);
  checkAnnotations(reader, metadata['annotations']);
  return {
    namespace: scope === 'cluster' ? '' : namespace === '' ? 'default' : namespace,
    name: name === '' ? generated : name,
    labels,
  };
}

function checkAnnotations(reader: FieldReader, value: unknown): void {
  let bytes = 0;
  for (const [key, text] of Object.entries(reader.texts(value, 'metadata.annotations'))) {
    const fault = labelKeyFault(key.toLowerCase());
    if (fault !== undefined) reader.problem(`metadata.annotations[${key}]`, `as an annotation key: ${fault}`);
    bytes += Buffer.byteLength(key) + Buffer.byteLength(text);
  }
  if (bytes > MOST_ANNOTATION_BYTES)
    reader.problem('metadata.annotations', `are ${bytes} bytes; ${MOST_ANNOTATION_BYTES} is the most`);
}
