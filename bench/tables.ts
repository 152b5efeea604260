import { FIGURES, type FigureName, ratio, reading } from './figures.ts';
import { type BenchResult, isQuiet } from './result.ts';
import { digits, spreadText } from './statistics.ts';
import { addedRoundTrips, targetRows } from './targets.ts';

/** Rows of equal length; the first is the heading. */
export type Table = readonly (readonly string[])[];

const MAIN: readonly FigureName[] = [
  'bulk1',
  'bulk8',
  'cpuPerGb',
  'ping',
  'connect',
  'rate',
  'cpuPerConnection',
];
const FIRST: readonly FigureName[] = ['first', 'firstCpu'];
const NOISY = ' ~';

function cell(result: BenchResult, figure: FigureName, variant: string): string {
  const found = reading(result, figure, variant);
  return found === undefined ? '' : `${spreadText(found)}${found.quiet ? '' : NOISY}`;
}

/** Variants in rows, figures in columns: median [least..most]. A variant without any sample is left out. */
export function mainTable(result: BenchResult): Table {
  const rows = result.variants
    .map(({ id, title }) => [title, ...MAIN.map((figure) => cell(result, figure, id))])
    .filter(([, ...cells]) => cells.some((text) => text !== ''));
  return [['variant', ...MAIN.map((name) => FIGURES[name].title)], ...rows];
}

/** The same as ratios to one of the variants, round by round. */
export function ratioTable(result: BenchResult, base: string): Table {
  const rows = result.variants
    .filter(({ id }) => id !== base)
    .map(({ id, title }) => [
      title,
      ...MAIN.map((figure) => {
        const found = ratio(result, figure, id, base);
        return found === undefined ? '' : `${digits(found.median)}${found.quiet ? '' : NOISY}`;
      }),
    ])
    .filter(([, ...cells]) => cells.some((text) => text !== ''));
  return [['variant', ...MAIN.map((name) => FIGURES[name].title.replace(/, (us|Gbit\/s)$/, ''))], ...rows];
}

export function firstContactTable(result: BenchResult): Table {
  const rows = result.variants
    .map(({ id, title }) => [title, ...FIRST.map((figure) => cell(result, figure, id))])
    .filter(([, ...cells]) => cells.some((text) => text !== ''));
  return [['variant', ...FIRST.map((name) => FIGURES[name].title)], ...rows];
}

export function farTable(result: BenchResult): Table {
  const rows = result.variants.flatMap(({ id, title }) => {
    const time = reading(result, 'far', id);
    if (time === undefined) return [];
    const added = id === 'direct' ? undefined : addedRoundTrips(result, id);
    const times = id === 'direct' ? undefined : ratio(result, 'far', id, 'direct');
    return [
      [
        title,
        spreadText(time),
        added === undefined ? '' : digits(added.median),
        times === undefined ? '' : digits(times.median),
      ],
    ];
  });
  return [['variant', FIGURES.far.title, 'round trips added', 'times direct'], ...rows];
}

export function memoryTable({ memory, start }: BenchResult): Table {
  const mega = (bytes: number): string => `${digits(bytes / 1e6)} MB`;
  const kilo = (bytes: number): string => `${Math.round(bytes).toLocaleString('en-US')} bytes`;
  const rows: string[][] = [];
  if (memory !== undefined) {
    rows.push(
      ['resident (RSS), idle', mega(memory.resident)],
      ['proportional (PSS), idle', mega(memory.proportional)],
      ['private dirty, idle', mega(memory.privateDirty)],
      [
        `user space per connection at rest, of ${memory.connections.toLocaleString('en-US')}: client's sidecar`,
        kilo(memory.perConnection.client),
      ],
      ["the same: server's sidecar", kilo(memory.perConnection.server)],
    );
  }
  if (start !== undefined && start.milliseconds.length > 0) {
    const sorted = start.milliseconds.toSorted((a, b) => a - b);
    const middle = digits(sorted[sorted.length >> 1]!);
    rows.push([
      `process start to ready, median of ${sorted.length}`,
      `${middle} ms [${digits(sorted[0]!)}..${digits(sorted.at(-1)!)}]`,
    ]);
  }
  return [['of one sidecar', ''], ...rows];
}

export function targetsTable(result: BenchResult): Table {
  const rows = targetRows(result).map(({ what, target, measured, verdict, stretch }) => [
    `${what}${stretch ? ' (stretch)' : ''}`,
    target,
    measured,
    verdict === 'missed' ? '**missed**' : verdict,
  ]);
  return [['target', 'promised', 'measured', ''], ...rows];
}

/** How much of the run was without neighbours. */
export function quietLine({ samples }: BenchResult): string {
  const quiet = samples.filter(isQuiet).length;
  return `${quiet} of ${samples.length} samples were quiet (nobody else used more than 0.15 of a CPU)`;
}

/** For a terminal: columns in line, without the marks of Markdown. */
export function asText(table: Table): string {
  const plain = table.map((row) => row.map((text) => text.replaceAll('**', '')));
  const widths = plain[0]!.map((_, at) => Math.max(...plain.map((row) => row[at]!.length)));
  return plain
    .map((row) =>
      row
        .map((text, at) => text.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A Markdown table as the formatter would leave it. */
export function asMarkdown(table: Table): string {
  const widths = table[0]!.map((_, at) => Math.max(3, ...table.map((row) => row[at]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, at) => text.padEnd(widths[at]!)).join(' | ')} |`;
  const [head, ...rows] = table;
  return [line(head!), `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join(
    '\n',
  );
}
