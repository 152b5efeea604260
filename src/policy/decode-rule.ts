import { formatAddress, parseAddress } from '../lib/address.ts';
import { cidrContains, parseCidr } from '../lib/cidr.ts';
import { decodeSelector } from './decode-selector.ts';
import type { FieldReader } from './fields.ts';
import { parseLegacyCidr } from './legacy-cidr.ts';
import type { PolicyPeer, PolicyPort, PolicyRule } from './model.ts';
import { portNameFault, portNumberFault } from './syntax.ts';

const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
const CIDR_FORM = 'must be a CIDR such as 10.0.0.0/8 or fd00::/8';

/** Reads one entry of `ingress` (peers under `from`) or `egress` (peers under `to`). An empty one allows everything. */
export function decodeRule(
  reader: FieldReader,
  value: unknown,
  field: string,
  peersField: 'from' | 'to',
): PolicyRule {
  const object = reader.object(value, field, [peersField, 'ports']) ?? {};
  const peers = reader.list(object[peersField], `${field}.${peersField}`);
  const ports = reader.list(object['ports'], `${field}.ports`);
  return {
    peers: peers
      ?.map((one, index) => decodePeer(reader, one, `${field}.${peersField}[${index}]`))
      .filter((one) => one !== undefined),
    ports: ports?.map((one, index) => decodePort(reader, one, `${field}.ports[${index}]`)),
  };
}

function decodePeer(reader: FieldReader, value: unknown, field: string): PolicyPeer | undefined {
  const object = reader.object(value, field, ['podSelector', 'namespaceSelector', 'ipBlock']) ?? {};
  const podSelector = decodeSelector(reader, object['podSelector'], `${field}.podSelector`);
  const namespaceSelector = decodeSelector(reader, object['namespaceSelector'], `${field}.namespaceSelector`);
  const block = reader.object(object['ipBlock'], `${field}.ipBlock`, ['cidr', 'except']);
  const selects = podSelector !== undefined || namespaceSelector !== undefined;
  if (block === undefined) {
    if (selects) return { kind: 'pods', podSelector, namespaceSelector };
    reader.problem(field, 'must have a podSelector, a namespaceSelector or an ipBlock');
    return undefined;
  }
  if (selects)
    reader.problem(
      field,
      'may not have an ipBlock next to a podSelector or namespaceSelector: make it two entries',
    );
  return decodeBlock(reader, block, `${field}.ipBlock`);
}

function decodeBlock(
  reader: FieldReader,
  block: Record<string, unknown>,
  field: string,
): PolicyPeer | undefined {
  const written = reader.text(block['cidr'], `${field}.cidr`) ?? '';
  const cidr = parseLegacyCidr(written);
  if (cidr === undefined) {
    reader.problem(`${field}.cidr`, CIDR_FORM);
    return undefined;
  }
  warnOfNotation(reader, written, cidr.text, `${field}.cidr`);
  const except: string[] = [];
  for (const [index, one] of (reader.list(block['except'], `${field}.except`) ?? []).entries()) {
    const at = `${field}.except[${index}]`;
    const hole = parseLegacyCidr(reader.text(one, at) ?? '');
    if (hole === undefined) reader.problem(at, CIDR_FORM);
    else if (
      cidr.length >= hole.length ||
      !cidrContains(cidr.cidr, { family: hole.cidr.family, words: hole.cidr.network })
    ) {
      reader.problem(at, `must lie within the cidr ${written} and be smaller than it`);
    } else {
      warnOfNotation(reader, String(one), hole.text, at);
      except.push(hole.text);
    }
  }
  return { kind: 'block', cidr: cidr.text, except };
}

// Accepted by today's API server in this field, refused where StrictIPCIDRValidation is on.
function warnOfNotation(reader: FieldReader, written: string, text: string, field: string): void {
  const cidr = parseCidr(written);
  const canonical =
    cidr !== undefined &&
    formatAddress(parseAddress(written.slice(0, written.indexOf('/')))!) === text.slice(0, text.indexOf('/'));
  if (!canonical) reader.warning(field, `is read as ${text}; stricter API servers refuse it: write ${text}`);
}

function decodePort(reader: FieldReader, value: unknown, field: string): PolicyPort {
  const object = reader.object(value, field, ['protocol', 'port', 'endPort']) ?? {};
  const protocol = reader.text(object['protocol'], `${field}.protocol`) ?? 'TCP';
  const known = PROTOCOLS.find((one) => one === protocol);
  if (known === undefined)
    reader.problem(`${field}.protocol`, `must be one of ${PROTOCOLS.join(', ')}, in capitals`);
  const port = decodePortNumberOrName(reader, object['port'], `${field}.port`);
  const endPort = reader.integer(object['endPort'], `${field}.endPort`);
  if (endPort !== undefined) {
    const at = `${field}.endPort`;
    const fault = portNumberFault(endPort);
    if (port === undefined) reader.problem(at, 'needs a port, the first of the range');
    else if (typeof port === 'string') reader.problem(at, 'needs a numeric port, not the name of one');
    else if (endPort < port) reader.problem(at, `must not be less than port, which is ${port}`);
    else if (fault !== undefined) reader.problem(at, fault);
  }
  return { protocol: known ?? 'TCP', port, endPort };
}

function decodePortNumberOrName(
  reader: FieldReader,
  value: unknown,
  field: string,
): number | string | undefined {
  const port = typeof value === 'string' ? value : reader.integer(value, field);
  if (port === undefined) return undefined;
  const fault = typeof port === 'string' ? portNameFault(port) : portNumberFault(port);
  if (fault !== undefined) reader.problem(field, fault);
  return port;
}
