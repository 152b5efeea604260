import { Command } from 'commander';
import { programVersion } from '../version.ts';
import { withApiClient, withCluster } from './cluster-input.ts';

interface Options {
  readonly out?: string;
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** `countersign bug-report`: what somebody else needs to see, in a folder, without secrets. */
export function bugReportCommand(): Command {
  const command = new Command('bug-report')
    .description(
      'collect versions, findings, statuses of sidecars and logs of the control plane into a folder, without secrets',
    )
    .option('--out <folder>', 'made anew; by default countersign-report-TIME here');
  return withCluster(command).action(async (options: Options) => {
    const { gatherFacts } = await import('../checks/look-at-cluster.ts');
    const { runChecks } = await import('../checks/run-checks.ts');
    const { writeBugReport } = await import('../checks/bug-report.ts');
    const now = new Date();
    const folder =
      options.out ?? `countersign-report-${now.toISOString().replace(/\..*/, '').replaceAll(/[-:]/g, '')}`;
    const progress = (what: string): void => void process.stderr.write(`countersign: ${what}\n`);
    const files = await withApiClient(options, async (client) => {
      progress('looking at the cluster');
      const { facts, settings } = await gatherFacts(client, { ...options, release: programVersion() });
      const findings = runChecks(facts, settings, false);
      return writeBugReport({ client, facts, findings, settings, folder, onProgress: progress });
    });
    process.stdout.write(`${folder}:\n${files.map((file) => `  ${file}\n`).join('')}`);
  });
}
