import type { NamedPort } from './evaluate.ts';
import type { PolicyPort, Protocol } from './model.ts';

/** The ports of a rule, ready to be asked often. */
export interface CompiledPorts {
  /** Every port of every protocol: the rule names none. */
  readonly every: boolean;
  /** Per protocol the first and last port of each range, ascending and apart: `[80, 80, 8000, 8100]`. */
  readonly ranges: Readonly<Record<Protocol, readonly number[]>>;
  readonly names: readonly { readonly name: string; readonly protocol: Protocol }[];
}

const LAST_PORT = 65_535;

/** Compiles the ports of a rule. Undefined and empty both mean every port of every protocol, as the API says. */
export function compilePorts(ports: readonly PolicyPort[] | undefined): CompiledPorts {
  const pairs: Record<Protocol, [number, number][]> = { TCP: [], UDP: [], SCTP: [] };
  const names: { name: string; protocol: Protocol }[] = [];
  for (const { protocol, port, endPort } of ports ?? []) {
    if (typeof port === 'string') names.push({ name: port, protocol });
    else pairs[protocol].push(port === undefined ? [0, LAST_PORT] : [port, endPort ?? port]);
  }
  return {
    every: ports === undefined || ports.length === 0,
    ranges: { TCP: merged(pairs.TCP), UDP: merged(pairs.UDP), SCTP: merged(pairs.SCTP) },
    names,
  };
}

/**
 * Whether a rule's ports include this one.
 * @param namedPorts those of the destination pod; undefined when it is no pod, and then no name matches
 */
export function portsInclude(
  ports: CompiledPorts,
  protocol: Protocol,
  port: number,
  namedPorts: readonly NamedPort[] | undefined,
): boolean {
  if (ports.every || inRanges(ports.ranges[protocol], port)) return true;
  if (namedPorts === undefined) return false;
  for (const wanted of ports.names) {
    if (wanted.protocol !== protocol) continue;
    // A pod may give one name to several ports (the API only warns): each of them counts.
    for (const named of namedPorts) {
      if (named.port === port && named.protocol === protocol && named.name === wanted.name) return true;
    }
  }
  return false;
}

function inRanges(ranges: readonly number[], port: number): boolean {
  let low = 0;
  let high = ranges.length >>> 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (port > ranges[middle * 2 + 1]!) low = middle + 1;
    else high = middle;
  }
  return low * 2 < ranges.length && port >= ranges[low * 2]!;
}

function merged(pairs: [number, number][]): number[] {
  const flat: number[] = [];
  for (const [first, last] of pairs.toSorted((a, b) => a[0] - b[0])) {
    const end = flat.length - 1;
    if (flat.length > 0 && first <= flat[end]! + 1) flat[end] = Math.max(flat[end]!, last);
    else if (first <= last) flat.push(first, last);
  }
  return flat;
}
