/**
 * Writes `docs/reference.md` from the source: commands with flags and variables, reasons, metrics, flow records, exit statuses. `--check`
 * writes nothing and fails when the file is not what the source says.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { AUTHORITY_METRICS } from '../src/authority/metric-list.ts';
import { EXIT, EXIT_MEANING } from '../src/errors.ts';
import { INJECTOR_METRICS } from '../src/injector/metric-list.ts';
import { type MetricDescription, METRICS } from '../src/observe/metric-list.ts';
import { ALL_REASONS, REASONS } from '../src/observe/reasons.ts';
import { RECORD_FIELDS } from '../src/observe/record.ts';
import { buildProgram } from '../src/program.ts';

const path = new URL('../docs/reference.md', import.meta.url);
const text = reference();
if (process.argv.includes('--check')) {
  if (readFileSync(path, 'utf8') !== text) {
    process.stderr.write('docs/reference.md is not what the source says: run `npm run docs`\n');
    process.exitCode = 1;
  }
} else {
  writeFileSync(path, text);
}

function reference(): string {
  return [
    '# Reference',
    '',
    '<!-- Generated from the source by `npm run docs`; `npm run check` fails when it is out of date. -->',
    '',
    'A flag can also be given by the environment variable named beside it; the flag wins. [Observability](observability.md) says what to do with reasons, metrics and records.',
    '',
    '## Commands',
    ...buildProgram().commands.flatMap((command) => commandSection(command, 'countersign')),
    '',
    '## Reasons',
    '',
    'Every verdict carries exactly one. They are the values of the label `reason` of `countersign_connections_total` and of the field `reason` of a flow record.',
    '',
    ...table(
      ['reason', 'verdict', 'meaning'],
      ALL_REASONS.map((reason) => [`\`${reason}\``, REASONS[reason].verdict, REASONS[reason].text]),
    ),
    '',
    'A connection that audit mode lets pass has the verdict `would_deny` and the reason of the denial.',
    '',
    '## Metrics',
    '',
    'Served at `/metrics` in the Prometheus text format. Labels have the values listed here and no others: nothing that a peer sends becomes a label.',
    '',
    '### Of a sidecar',
    '',
    ...metricTable(METRICS),
    '',
    '### Of an authority',
    '',
    ...metricTable(AUTHORITY_METRICS),
    '',
    '### Of an injector',
    '',
    ...metricTable(INJECTOR_METRICS),
    '',
    '## Flow records',
    '',
    'One JSON object per line and connection, to the file that `--flow-log` names. Every field is always there.',
    '',
    ...table(
      ['field', 'type', 'meaning'],
      Object.entries(RECORD_FIELDS).map(([name, field]) => [`\`${name}\``, field.type, field.text]),
    ),
    '',
    '## Exit statuses',
    '',
    ...table(
      ['status', 'meaning'],
      Object.entries(EXIT).map(([name, code]) => [String(code), EXIT_MEANING[name as keyof typeof EXIT]]),
    ),
    '',
  ].join('\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)];
}

function metricTable(metrics: Readonly<Record<string, MetricDescription>>): string[] {
  return table(
    ['metric', 'type', 'labels', 'meaning'],
    Object.entries(metrics).map(([name, metric]) => [
      `\`${name}\``,
      metric.type,
      labelsCell(metric),
      metric.help,
    ]),
  );
}

function labelsCell({ labels }: MetricDescription): string {
  return Object.entries(labels)
    .map(([label, values]) => {
      if (values === ALL_REASONS) return `\`${label}\`: [reasons](#reasons)`;
      return `\`${label}\`: ${typeof values === 'string' ? values : values.join(', ')}`;
    })
    .join('<br>');
}

function commandSection(command: Command, parent: string): string[] {
  const name = `${parent} ${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((child) => commandSection(child, name));
  const lines = [
    '',
    `### \`${name}${command.usage() === '' ? '' : ` ${command.usage()}`}\``,
    '',
    command.description(),
  ];
  if (command.options.length > 0) {
    const code = (value: string | undefined): string => (value === undefined ? '' : `\`${value}\``);
    const rows = command.options.map((option) => {
      const fallback = option.defaultValueDescription ?? (option.defaultValue as string | undefined);
      const choices = option.argChoices === undefined ? '' : ` (${option.argChoices.join(', ')})`;
      const meaning = `${option.description}${choices}${option.mandatory ? '. Required' : ''}`;
      return [code(option.flags), code(option.envVar), code(fallback), meaning];
    });
    lines.push('', ...table(['flag', 'variable', 'default', 'meaning'], rows));
  }
  return lines;
}
