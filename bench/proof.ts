/** The connection counter of a sidecar: its series and their values. */
export type Counts = ReadonlyMap<string, number>;

const SERIES = /^countersign_connections_total\{(.*)\} (\d+)$/gm;

/** Reads the counter out of the text of /metrics. */
export function parseCounts(metrics: string): Counts {
  return new Map([...metrics.matchAll(SERIES)].map((match) => [match[1]!, Number(match[2])]));
}

/** What is demanded of a sample's connections at one end, summed over its sidecars. */
export interface Demand {
  readonly direction: 'inbound' | 'outbound';
  readonly connections: number;
  /** `resumed`: all but the first few, which make the sessions. */
  readonly handshake?: 'full';
}

/**
 * Why the connections of a sample do not count: every one of them has to have been allowed with a proven peer, at this end, and no other
 * verdict may have fallen. A counter that begins anew hides what fell before. @returns undefined when they count
 */
export function voidReason(
  before: readonly Counts[],
  after: readonly Counts[],
  demand: Demand,
): string | undefined {
  const grown = new Map<string, number>();
  for (const [index, counts] of after.entries()) {
    for (const [series, value] of before[index] ?? []) {
      if ((counts.get(series) ?? 0) < value) return 'a sidecar was started again in the middle of it';
    }
    for (const [series, value] of counts) {
      const more = value - (before[index]?.get(series) ?? 0);
      if (more > 0) grown.set(series, (grown.get(series) ?? 0) + more);
    }
  }
  const has = (series: string, label: string, value: string): boolean =>
    series.includes(`${label}="${value}"`);
  let [proven, full] = [0, 0];
  for (const [series, more] of grown) {
    if (!has(series, 'direction', demand.direction)) continue;
    if (!has(series, 'peer', 'proven') || !has(series, 'verdict', 'allow')) {
      return `${more} connections were counted as ${series}`;
    }
    proven += more;
    if (has(series, 'handshake', 'full')) full += more;
  }
  if (proven !== demand.connections) {
    return `${demand.connections} connections were made, ${proven} were counted as proven, ${demand.direction}`;
  }
  if (demand.handshake === 'full' && full !== proven) {
    return `${proven - full} of ${proven} connections were resumed where first contact was wanted`;
  }
  return undefined;
}
