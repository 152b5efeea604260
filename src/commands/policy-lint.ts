import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { checkFormat, type InputOptions, readInput, withInput } from './policy-input.ts';

const HELP = `
Levels: error (it does not do what it says), warning (it probably does not do what is meant), note (worth knowing).
Exit status: 0, or 1 when there is a finding of the level of --fail-on or worse, 2 when the call or the input cannot be read.

Examples:
  $ countersign policy lint -f manifests/
  $ helm template shop ./chart | countersign policy lint -f - -n shop --fail-on warning
  $ countersign policy lint -f manifests/ -o sarif > policy.sarif
`;
const LEVELS = ['error', 'warning', 'note', 'never'] as const;

interface Options extends InputOptions {
  readonly output: string;
  readonly failOn: string;
}

/** `countersign policy lint`: what is wrong with policies, or not what it seems. */
export function lintCommand(): Command {
  const command = new Command('lint')
    .description('find what is wrong with policies, or not what it seems')
    .option('-o, --output <format>', 'text, json or sarif', 'text')
    .option(
      '--fail-on <level>',
      `exit with 1 on findings of this level or worse: ${LEVELS.join(', ')}`,
      'error',
    );
  return withInput(command, 'folder, file, or - for standard input; may be given several times')
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const format = checkFormat(options.output, ['text', 'json', 'sarif']);
      const failOn = checkFormat(options.failOn, LEVELS, '--fail-on');
      const { lint } = await import('../policy-tools/lint/lint.ts');
      const { findingsSarif, findingsText } = await import('../policy-tools/lint/report.ts');
      // Refused objects are findings here.
      const findings = lint(await readInput({ ...options, skipRefused: true }));
      const text =
        format === 'text'
          ? findingsText(findings)
          : JSON.stringify(format === 'sarif' ? findingsSarif(findings) : findings, null, 2);
      process.stdout.write(`${text}\n`);
      const failing = LEVELS.slice(0, LEVELS.indexOf(failOn) + 1);
      const failed = failOn !== 'never' && findings.some(({ level }) => failing.includes(level));
      process.exitCode = failed ? EXIT.failure : EXIT.ok;
    });
}
