import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { programVersion } from '../version.ts';
import { withApiClient, withCluster } from './cluster-input.ts';
import { checkFormat } from './policy-input.ts';

const HELP = `
Levels: error (it does not work, or will not), warning (it will probably hurt), note (worth knowing, or could not be seen), ok.
Exit status: 0, or 1 when there is an error (--fail-on warning: or a warning), 2 when the call is wrong.
Nothing is changed: pods are tried with dryRun=All, which the API server does not keep; --no-trial leaves that out.

Examples:
  $ countersign check --pre --enroll shop,payments    # before the installation
  $ countersign check                                 # after it
  $ countersign check -o json | jq '.[] | select(.level == "error")'
`;

interface Options {
  readonly pre: boolean;
  readonly enroll?: string;
  readonly trial: boolean;
  readonly output: string;
  readonly failOn: string;
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cpuRequest: string;
  readonly memoryRequest: string;
  readonly memoryLimit: string;
}

/** `countersign check`: what is wrong with an installation, or would be, and how to mend it. */
export function checkCommand(): Command {
  const command = new Command('check')
    .description('find what is wrong with the installation in a cluster, or with --pre what would be')
    .option('--pre', 'before an installation', false)
    .option(
      '--enroll <namespaces>',
      'namespaces that are meant to be enrolled, separated by commas; by default those that ask for sidecars',
    )
    .option('--no-trial', 'show the API server no pod as a dry run')
    .option('-o, --output <format>', 'text or json', 'text')
    .option('--fail-on <level>', 'exit with 1 on findings of this level or worse: error or warning', 'error')
    .option('--cpu-request <quantity>', 'of sidecars, as in install', '10m')
    .option('--memory-request <quantity>', 'of sidecars, as in install', '40Mi')
    .option('--memory-limit <quantity>', 'of sidecars, as in install', '128Mi');
  return withCluster(command)
    .addHelpText('after', HELP)
    .action(async (options: Options) => {
      const format = checkFormat(options.output, ['text', 'json']);
      const failOn = checkFormat(options.failOn, ['error', 'warning'], '--fail-on');
      const { lookAtCluster } = await import('../checks/look-at-cluster.ts');
      const { findingsText } = await import('../checks/report.ts');
      const findings = await withApiClient(options, (client) =>
        lookAtCluster(client, { ...options, release: programVersion() }),
      );
      process.stdout.write(
        format === 'json' ? `${JSON.stringify(findings, null, 2)}\n` : findingsText(findings),
      );
      const failing = failOn === 'error' ? ['error'] : ['error', 'warning'];
      const failed = findings.some(({ level }) => failing.includes(level));
      process.exitCode = failed ? EXIT.failure : EXIT.ok;
    });
}
