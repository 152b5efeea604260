import { Command } from 'commander';
import { EXIT, UserError } from '../errors.ts';
import { programVersion } from '../version.ts';
import { withApiClient, withCluster } from './cluster-input.ts';
import { checkFormat } from './policy-input.ts';

interface Options {
  readonly check: boolean;
  readonly output: string;
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** `countersign upgrade --check`: what stands between a cluster and this program's release. */
export function upgradeCommand(): Command {
  const command = new Command('upgrade')
    .description(
      "say which releases run in a cluster, whether they may go to this program's, in which order, and which pods have to restart; it changes nothing",
    )
    .option('--check', 'look and say; the only thing that it does', false)
    .option('-o, --output <format>', 'text or json', 'text');
  return withCluster(command).action(async (options: Options) => {
    const format = checkFormat(options.output, ['text', 'json']);
    if (!options.check)
      throw new UserError(
        'write countersign upgrade --check; the upgrade itself is countersign install ... | kubectl apply -f -',
      );
    const { gatherFacts } = await import('../checks/look-at-cluster.ts');
    const { checkUpgrade } = await import('../checks/upgrade.ts');
    const { findingsText } = await import('../checks/report.ts');
    const findings = await withApiClient(options, async (client) => {
      const { facts, settings } = await gatherFacts(client, { ...options, release: programVersion() });
      return checkUpgrade(facts, settings);
    });
    process.stdout.write(
      format === 'json' ? `${JSON.stringify(findings, null, 2)}\n` : findingsText(findings),
    );
    process.exitCode = findings.some(({ level }) => level === 'error') ? EXIT.failure : EXIT.ok;
  });
}
