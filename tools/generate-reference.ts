/**
 * Writes `docs/reference.md` from the source: commands with flags and variables, reasons, exit statuses. `--check` writes nothing and
 * fails when the file is not what the source says.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { EXIT, EXIT_MEANING } from '../src/errors.ts';
import { ALL_REASONS, REASONS } from '../src/observe/reasons.ts';
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
    '## Commands',
    ...buildProgram().commands.flatMap((command) => commandSection(command, 'countersign')),
    '',
    '## Reasons',
    '',
    'Every verdict carries exactly one. They are the values of the label `reason` of `countersign_connections_total` and of the field `reason` of a flow record.',
    '',
    '| reason | verdict | meaning |',
    '|---|---|---|',
    ...ALL_REASONS.map(
      (reason) => `| \`${reason}\` | ${REASONS[reason].verdict} | ${REASONS[reason].text} |`,
    ),
    '',
    '## Exit statuses',
    '',
    '| status | meaning |',
    '|---|---|',
    ...Object.entries(EXIT).map(([name, code]) => `| ${code} | ${EXIT_MEANING[name as keyof typeof EXIT]} |`),
    '',
  ].join('\n');
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
    lines.push('', '| flag | variable | default | meaning |', '|---|---|---|---|');
    for (const option of command.options) {
      const fallback = option.defaultValueDescription ?? (option.defaultValue as string | undefined);
      const cell = (value: string | undefined): string => (value === undefined ? '' : `\`${value}\``);
      const choices = option.argChoices === undefined ? '' : ` (${option.argChoices.join(', ')})`;
      const required = option.mandatory ? ' Required.' : '';
      lines.push(
        `| \`${option.flags.replaceAll('|', '\\|')}\` | ${cell(option.envVar)} | ${cell(fallback)} | ${option.description}${choices}${required} |`,
      );
    }
  }
  return lines;
}
