import { canonicalAddress } from '../lib/address.ts';
import type { NamedPort } from '../policy/evaluate.ts';
import type { FieldReader } from '../policy/fields.ts';
import type { Labels } from '../policy/model.ts';

/** `metadata` of any object. */
export interface Metadata {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string | undefined;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Milliseconds since the epoch; 0 where nothing is said. */
  readonly createdAt: number;
  readonly deleted: boolean;
}

/** `metadata`; a name has to be there. */
export function decodeMetadata(reader: FieldReader, value: unknown): Metadata {
  const metadata = reader.object(value, 'metadata') ?? {};
  const name = reader.text(metadata['name'], 'metadata.name');
  if (name === undefined || name === '') reader.problem('metadata.name', 'must be given');
  const created = metadata['creationTimestamp'];
  const namespace = reader.text(metadata['namespace'], 'metadata.namespace') ?? '';
  return {
    namespace: namespace === '' ? 'default' : namespace,
    name: name ?? '',
    uid: reader.text(metadata['uid'], 'metadata.uid'),
    labels: reader.texts(metadata['labels'], 'metadata.labels'),
    annotations: reader.texts(metadata['annotations'], 'metadata.annotations'),
    createdAt: (typeof created === 'string' && Date.parse(created)) || 0,
    deleted: metadata['deletionTimestamp'] !== undefined && metadata['deletionTimestamp'] !== null,
  };
}

/** A list of addresses in canonical form. `None` and empty texts stand for «no address» and are passed over. */
export function decodeAddresses(reader: FieldReader, values: readonly unknown[], field: string): string[] {
  return values.flatMap((value, index) => {
    const text = reader.text(value, `${field}[${index}]`);
    if (text === undefined || text === '' || text === 'None') return [];
    const address = canonicalAddress(text);
    if (address !== undefined) return [address];
    reader.problem(`${field}[${index}]`, `${JSON.stringify(text.slice(0, 60))} is no IP address`);
    return [];
  });
}

/** A port and its protocol; TCP where none is given. */
export function decodePort(
  reader: FieldReader,
  value: unknown,
  field: string,
  key: 'port' | 'containerPort',
): NamedPort | undefined {
  const entry = reader.object(value, field) ?? {};
  const port = reader.integer(entry[key], `${field}.${key}`);
  const protocol = reader.text(entry['protocol'], `${field}.protocol`) ?? 'TCP';
  const name = reader.text(entry['name'], `${field}.name`) ?? '';
  if (port === undefined || port < 1 || port > 65535) {
    reader.problem(`${field}.${key}`, 'must be a port number from 1 to 65535');
    return undefined;
  }
  if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') {
    reader.problem(`${field}.protocol`, 'must be TCP, UDP or SCTP');
    return undefined;
  }
  return { name, port, protocol };
}

/** A field that is true, false or missing. */
export function decodeFlag(reader: FieldReader, value: unknown, field: string): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (value !== undefined && value !== null) reader.problem(field, 'must be true or false');
  return undefined;
}

/** A field whose words the API names. Empty where it is missing. */
export function decodeWord(
  reader: FieldReader,
  value: unknown,
  field: string,
  words: readonly string[],
): string {
  const word = reader.text(value, field) ?? '';
  if (word !== '' && !words.includes(word)) reader.problem(field, `must be one of ${words.join(', ')}`);
  return word;
}
