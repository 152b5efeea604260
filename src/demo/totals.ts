/** Sums the connection counters of several scrapes. @returns lines of a table: direction, verdict, reason, count */
export function totals(scrapes: readonly string[]): string[] {
  const sums = new Map<string, number>();
  for (const scrape of scrapes) {
    for (const match of scrape.matchAll(/^countersign_connections_total\{([^}]*)\} (\d+)$/gm)) {
      const labels = Object.fromEntries(
        [...match[1]!.matchAll(/(\w+)="([^"]*)"/g)].map((label) => [label[1]!, label[2]!]),
      );
      const key = [labels['direction'], labels['verdict'], labels['reason']].join(' ');
      sums.set(key, (sums.get(key) ?? 0) + Number(match[2]));
    }
  }
  const rows = [...sums]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([key, sum]) => [...key.split(' '), String(sum)]);
  return [['direction', 'verdict', 'reason', 'connections'], ...rows].map(
    ([direction = '', verdict = '', reason = '', count = '']) =>
      `  ${direction.padEnd(10)} ${verdict.padEnd(11)} ${reason.padEnd(20)} ${count.padStart(11)}`,
  );
}
