import type { NamedPort, PolicyQuery } from './evaluate.ts';
import type { Unmet } from './nearest-miss.ts';
import type { CompiledPorts } from './ports.ts';
import { type CompiledRequirement, NAMESPACE_NAME_LABEL } from './selector.ts';

const MOST_NAMED = 4;
const LONGEST_VALUE = 63;

/**
 * What it would take for a rule to match, without subject: «would match if the peer had app=api; it has app=web». Bounded in
 * length, and in printable ASCII whatever a peer's labels hold, since it goes to logs.
 */
export function missText(
  unmet: readonly Unmet[],
  query: PolicyQuery,
  namedPorts: readonly NamedPort[] | undefined,
): string {
  const podLabels = unmet.filter((one) => one.kind === 'label' && one.of === 'pod');
  const conditions: string[] = [];
  const facts: string[] = [];
  const labels = ofLabels(podLabels);
  if (labels !== undefined) {
    conditions.push(`the peer had ${labels.wanted}`);
    facts.push(`it has ${labels.actual}`);
  }
  const namespaceLabels = ofLabels(unmet.filter((one) => one.kind === 'label' && !podLabels.includes(one)));
  if (namespaceLabels !== undefined && query.peer.kind !== 'address') {
    conditions.push(`its namespace had ${namespaceLabels.wanted}`);
    facts.push(`namespace ${printable(query.peer.namespace)} has ${namespaceLabels.actual}`);
  }
  for (const one of unmet) {
    const phrase = ofOther(one, query, namedPorts);
    if (phrase === undefined) continue;
    conditions.push(phrase.condition);
    if (phrase.fact !== undefined) facts.push(phrase.fact);
  }
  const tail = facts.length === 0 ? '' : `; ${facts.join(', ')}`;
  return `would match if ${conditions.join(' and ')}${tail}`;
}

/** A requirement as it is said behind «had»: `app=api`, `a label app`, `no app=web`. */
export function requirementText({ key, operator, values }: CompiledRequirement): string {
  const pairs = (): string =>
    atMost(
      [...values].map((value) => `${key}=${value}`),
      ' or ',
    );
  switch (operator) {
    case 'In':
      return pairs();
    case 'NotIn':
      return `no ${pairs()}`;
    case 'Exists':
      return `a label ${key}`;
    case 'DoesNotExist':
      return `no label ${key}`;
  }
}

/** The ports of a rule: `TCP 80, TCP 8000-8100 or TCP http`. */
export function portsText(ports: CompiledPorts): string {
  if (ports.every) return 'any port';
  const parts: string[] = [];
  for (const protocol of ['TCP', 'UDP', 'SCTP'] as const) {
    const ranges = ports.ranges[protocol];
    for (let index = 0; index < ranges.length; index += 2) {
      const [first, last] = [ranges[index]!, ranges[index + 1]!];
      if (first === 0) parts.push(`any ${protocol} port`);
      else parts.push(first === last ? `${protocol} ${first}` : `${protocol} ${first}-${last}`);
    }
  }
  for (const { protocol, name } of ports.names) parts.push(`${protocol} ${name}`);
  return atMost(parts, ' or ');
}

function ofLabels(unmet: readonly Unmet[]): { wanted: string; actual: string } | undefined {
  const labels = unmet.filter((one) => one.kind === 'label');
  if (labels.length === 0) return undefined;
  const actual = labels.map(({ requirement: { key }, actual }) =>
    actual === undefined ? `no label ${key}` : `${key}=${printable(actual)}`,
  );
  return {
    wanted: atMost(
      labels.map(({ requirement }) => requirementText(requirement)),
      ' and ',
    ),
    actual: atMost([...new Set(actual)], ' and '),
  };
}

function ofOther(
  unmet: Unmet,
  query: PolicyQuery,
  namedPorts: readonly NamedPort[] | undefined,
): { condition: string; fact?: string } | undefined {
  const { peer } = query;
  switch (unmet.kind) {
    case 'label':
      return undefined;
    case 'proof':
      return { condition: 'the peer proved its identity', fact: 'it proved none' };
    case 'namespace':
      return {
        condition: `the peer were in namespace ${unmet.wanted}`,
        fact: `it is in namespace ${printable(unmet.actual)}`,
      };
    case 'address':
      return {
        condition: unmet.excepted
          ? `the peer's address were not excepted from ${unmet.block}`
          : `the peer's address were in ${unmet.block}`,
        fact: peer.address === '' ? 'its address is not known' : `it is ${printable(peer.address)}`,
      };
    case 'pod':
      return {
        condition: `the peer ${query.direction === 'inbound' ? 'proved to be' : 'were'} a pod${podText(unmet.wanted)}`,
        fact: `it is only known as the address ${printable(peer.address)}`,
      };
    case 'port': {
      const missing = unmet.ports.names.filter(({ name }) => !namedPorts?.some((one) => one.name === name));
      const unnamed = missing.length === 0 ? '' : ` and the destination names no port ${missing[0]!.name}`;
      return {
        condition: `the port were ${portsText(unmet.ports)}`,
        fact: `it is ${query.protocol} ${query.port}${unnamed}`,
      };
    }
  }
}

function podText(wanted: (Unmet & { readonly kind: 'pod' })['wanted']): string {
  const pod = wanted.podSelector.requirements.map(requirementText);
  const namespace = wanted.namespaceSelector.requirements.map((one) =>
    one.key === NAMESPACE_NAME_LABEL && one.operator === 'In'
      ? `the name ${atMost([...one.values], ' or ')}`
      : requirementText(one),
  );
  const where =
    wanted.namespace === undefined
      ? namespace.length === 0
        ? ''
        : ` in a namespace with ${atMost(namespace, ' and ')}`
      : ` in namespace ${wanted.namespace}`;
  return `${pod.length === 0 ? '' : ` with ${atMost(pod, ' and ')}`}${where}`;
}

function atMost(parts: readonly string[], separator: string): string {
  if (parts.length <= MOST_NAMED) return parts.join(separator);
  return `${parts.slice(0, MOST_NAMED).join(separator)}${separator}${parts.length - MOST_NAMED} more`;
}

function printable(text: string): string {
  const plain = text.replaceAll(/[^ -~]/g, '?');
  return plain.length <= LONGEST_VALUE ? plain : `${plain.slice(0, LONGEST_VALUE)}...`;
}
