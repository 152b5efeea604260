import type { ClusterPort } from './cluster-model.ts';
import { isGiven } from './decode-cluster.ts';
import type { FieldReader } from './fields.ts';
import type { Protocol } from './model.ts';
import { portNumberFault } from './syntax.ts';

const PROTOCOL_FIELDS = ['tcp', 'udp', 'sctp'] as const;
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;

/** Reads one entry of `protocols` (v1alpha2). */
export function decodeClusterPort(
  reader: FieldReader,
  value: unknown,
  field: string,
): ClusterPort | undefined {
  const known = [...PROTOCOL_FIELDS, 'destinationNamedPort'];
  const object = reader.object(value, field, known) ?? {};
  const given = known.filter((key) => isGiven(object[key]));
  if (given.length !== 1) {
    reader.problem(field, `must have exactly one of ${known.join(', ')}`);
    return undefined;
  }
  if (given[0] === 'destinationNamedPort')
    return { name: reader.text(object['destinationNamedPort'], `${field}.destinationNamedPort`) ?? '' };
  const key = given[0] as (typeof PROTOCOL_FIELDS)[number];
  const protocol = key.toUpperCase() as Protocol;
  const at = `${field}.${key}`;
  const match = reader.object(object[key], at, ['destinationPort']) ?? {};
  const port = reader.object(match['destinationPort'], `${at}.destinationPort`, ['number', 'range']);
  if (port === undefined) {
    reader.problem(at, 'must have a destinationPort');
    return undefined;
  }
  if (isGiven(port['number']) === isGiven(port['range'])) {
    reader.problem(`${at}.destinationPort`, 'must have exactly one of number and range');
    return undefined;
  }
  if (isGiven(port['number'])) {
    const number = portNumber(reader, port['number'], `${at}.destinationPort.number`);
    return { protocol, first: number, last: number };
  }
  const range = `${at}.destinationPort.range`;
  const { first, last } = decodeRange(reader, port['range'], range);
  if (first >= last) reader.problem(range, 'must have a start that is less than its end');
  return { protocol, first, last };
}

/** Reads one entry of `ports` (v1alpha1). A range whose end is before its start is accepted there, and holds no port. */
export function decodeLegacyPort(
  reader: FieldReader,
  value: unknown,
  field: string,
): ClusterPort | undefined {
  const known = ['portNumber', 'namedPort', 'portRange'];
  const object = reader.object(value, field, known) ?? {};
  const given = known.filter((key) => isGiven(object[key]));
  if (given.length !== 1) {
    reader.problem(field, `must have exactly one of ${known.join(', ')}`);
    return undefined;
  }
  if (given[0] === 'namedPort') return { name: reader.text(object['namedPort'], `${field}.namedPort`) ?? '' };
  const at = `${field}.${given[0]}`;
  const body = reader.object(object[given[0]!], at) ?? {};
  const written = reader.text(body['protocol'], `${at}.protocol`) ?? 'TCP';
  const protocol = PROTOCOLS.find((one) => one === written);
  if (protocol === undefined)
    reader.problem(`${at}.protocol`, `must be one of ${PROTOCOLS.join(', ')}, in capitals`);
  const range =
    given[0] === 'portRange'
      ? decodeRange(reader, body, at)
      : { first: portNumber(reader, body['port'], `${at}.port`), last: undefined };
  return { protocol: protocol ?? 'TCP', first: range.first, last: range.last ?? range.first };
}

function decodeRange(reader: FieldReader, value: unknown, field: string): { first: number; last: number } {
  const range = reader.object(value, field) ?? {};
  return {
    first: portNumber(reader, range['start'], `${field}.start`),
    last: portNumber(reader, range['end'], `${field}.end`),
  };
}

function portNumber(reader: FieldReader, value: unknown, field: string): number {
  const port = reader.integer(value, field) ?? 0;
  const fault = portNumberFault(port);
  if (fault !== undefined) reader.problem(field, fault);
  return port;
}
