import type { Protocol } from '../policy/model.ts';
import type { Workload } from '../workloads/workload.ts';
import type { Mentions } from './mentions.ts';

/** Ports that no policy tells apart. */
export interface PortRange {
  readonly protocol: Protocol;
  readonly first: number;
  readonly last: number;
}

export const PROTOCOLS: readonly Protocol[] = ['TCP', 'UDP', 'SCTP'];
const LAST_PORT = 65_535;

/**
 * Cuts the ports of each protocol into ranges within which every policy gives the same answer: together they are all ports.
 * Cut where a policy names a port or a range ends, and at each port that a pod gives a name.
 */
export function portRanges({ ports }: Mentions, workloads: readonly Workload[]): PortRange[] {
  const cuts: Record<Protocol, Set<number>> = { TCP: new Set([1]), UDP: new Set([1]), SCTP: new Set([1]) };
  for (const { protocol, first, last } of ports) cuts[protocol].add(first).add(last + 1);
  for (const { namedPorts } of workloads) {
    for (const { protocol, port } of namedPorts) cuts[protocol].add(port).add(port + 1);
  }
  return PROTOCOLS.flatMap((protocol) => {
    const firsts = [...cuts[protocol]].filter((port) => port <= LAST_PORT).toSorted((a, b) => a - b);
    return firsts.map((first, index) => ({
      protocol,
      first,
      last: (firsts[index + 1] ?? LAST_PORT + 1) - 1,
    }));
  });
}

/** `TCP 80, TCP 8000-8100, any UDP port`; neighbours are joined. */
export function rangesText(ranges: readonly PortRange[]): string {
  const joined = joinRanges(ranges);
  const whole = joined.filter(isWhole).map(({ protocol }) => protocol);
  if (whole.length === PROTOCOLS.length) return 'any port';
  return joined
    .map((range) => {
      const { protocol, first, last } = range;
      if (isWhole(range)) return `any ${protocol} port`;
      return first === last ? `${protocol} ${first}` : `${protocol} ${first}-${last}`;
    })
    .join(', ');
}

/** Neighbouring ranges made one. They come in the order of {@link portRanges}. */
export function joinRanges(ranges: readonly PortRange[]): PortRange[] {
  const joined: PortRange[] = [];
  for (const range of ranges) {
    const before = joined.at(-1);
    if (before !== undefined && before.protocol === range.protocol && before.last + 1 === range.first)
      joined[joined.length - 1] = { ...before, last: range.last };
    else joined.push(range);
  }
  return joined;
}

function isWhole({ first, last }: PortRange): boolean {
  return first === 1 && last === LAST_PORT;
}
