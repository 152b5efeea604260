import { parseAddress } from '../lib/address.ts';
import { parseCidr } from '../lib/cidr.ts';
import type { ClusterForm } from './cluster-forms.ts';
import type { ClusterPeer, ClusterRule } from './cluster-model.ts';
import { decodePodSelection, isGiven } from './decode-cluster.ts';
import { decodeClusterPort, decodeLegacyPort } from './decode-cluster-port.ts';
import { decodeSelector } from './decode-selector.ts';
import { domainNameFault } from './domain-name.ts';
import type { FieldReader } from './fields.ts';

const LONGEST_RULE_NAME = 100;
const LONGEST_CIDR = 43;
const MOST_NETWORKS = 25;

/** Reads one rule of a cluster policy. */
export function decodeClusterRule(
  reader: FieldReader,
  form: ClusterForm,
  value: unknown,
  field: string,
  direction: 'ingress' | 'egress',
): ClusterRule {
  const peersField = direction === 'ingress' ? 'from' : 'to';
  const known = ['name', 'action', peersField, form.portsField];
  const object = reader.object(value, field, known) ?? {};
  const name = reader.text(object['name'], `${field}.name`) ?? '';
  if (name.length > LONGEST_RULE_NAME)
    reader.problem(`${field}.name`, `is longer than ${LONGEST_RULE_NAME} characters`);
  const word = object['action'];
  const action =
    typeof word === 'string' && Object.hasOwn(form.actions, word) ? form.actions[word] : undefined;
  if (action === undefined)
    reader.problem(`${field}.action`, `must be one of ${Object.keys(form.actions).join(', ')}`);
  const allowed = direction === 'ingress' ? ['namespaces', 'pods'] : form.egressPeers;
  const peers = decodeList(reader, object[peersField], `${field}.${peersField}`, form, true, (one, at) =>
    decodePeer(reader, one, at, allowed),
  );
  const portOf = form.portsField === 'protocols' ? decodeClusterPort : decodeLegacyPort;
  const portsGiven = isGiven(object[form.portsField]);
  const ports = decodeList(
    reader,
    object[form.portsField],
    `${field}.${form.portsField}`,
    form,
    portsGiven,
    (one, at) => portOf(reader, one, at),
  );
  if (ports.some((one) => 'name' in one) && peers.some((one) => one.kind !== 'pods'))
    reader.problem(
      `${field}.${form.portsField}`,
      'may not name a port next to nodes, networks or domainNames, which have no named ports: make it two rules',
    );
  if (action === 'Deny' && peers.some((one) => one.kind === 'domains'))
    reader.warning(
      `${field}.${peersField}`,
      'has domainNames in a Deny rule, which the API supports in Accept rules only: an address that DNS was never asked for is not denied',
    );
  return { name, action: action ?? 'Deny', peers, ports: portsGiven ? ports : undefined };
}

function decodeList<T>(
  reader: FieldReader,
  value: unknown,
  field: string,
  { mostEntries }: ClusterForm,
  wanted: boolean,
  decode: (value: unknown, field: string) => T | undefined,
): T[] {
  const list = reader.list(value, field) ?? [];
  if (wanted && list.length === 0) reader.problem(field, 'must have at least one entry');
  if (list.length > mostEntries) reader.problem(field, `may have ${mostEntries} entries at most`);
  return list
    .slice(0, mostEntries)
    .map((one, index) => decode(one, `${field}[${index}]`))
    .filter((one) => one !== undefined);
}

function decodePeer(
  reader: FieldReader,
  value: unknown,
  field: string,
  allowed: readonly string[],
): ClusterPeer | undefined {
  const object = reader.object(value, field, allowed) ?? {};
  const given = allowed.filter((key) => isGiven(object[key]));
  if (given.length !== 1) {
    reader.problem(field, `must have exactly one of ${allowed.join(', ')}`);
    return undefined;
  }
  const selection = decodePodSelection(reader, object, field);
  if (selection !== undefined) return { kind: 'pods', ...selection };
  if (given[0] === 'nodes') {
    const selector = decodeSelector(reader, object['nodes'], `${field}.nodes`);
    return selector === undefined ? undefined : { kind: 'nodes', selector };
  }
  if (given[0] === 'networks') {
    return {
      kind: 'networks',
      cidrs: decodeTexts(reader, object['networks'], `${field}.networks`, cidrFault),
    };
  }
  if (given[0] === 'domainNames') {
    const names = decodeTexts(reader, object['domainNames'], `${field}.domainNames`, domainNameFault);
    return { kind: 'domains', names };
  }
  return undefined;
}

/** A list that is a set, of up to 25 texts. */
function decodeTexts(
  reader: FieldReader,
  value: unknown,
  field: string,
  faultOf: (text: string) => string | undefined,
): string[] {
  const list = reader.list(value, field) ?? [];
  if (list.length === 0 || list.length > MOST_NETWORKS)
    reader.problem(field, `must have 1 to ${MOST_NETWORKS} entries`);
  const texts = list.slice(0, MOST_NETWORKS).map((one, index) => {
    const text = reader.text(one, `${field}[${index}]`) ?? '';
    const fault = faultOf(text);
    if (fault !== undefined) reader.problem(`${field}[${index}]`, fault);
    return text;
  });
  if (new Set(texts).size < texts.length) reader.problem(field, 'must not have an entry twice');
  return texts;
}

// CEL's isCIDR: Go's netip.ParsePrefix, without IPv4-mapped addresses. Bits behind the prefix are let pass.
function cidrFault(text: string): string | undefined {
  if (text.length > LONGEST_CIDR) return `is longer than ${LONGEST_CIDR} characters`;
  if (parseCidr(text) !== undefined && parseAddress(text.slice(0, text.indexOf('/'))) !== undefined)
    return undefined;
  return 'must be a CIDR such as 10.0.0.0/8 or fd00::/8';
}
