import type { Command } from 'commander';
import { programVersion } from '../version.ts';
import { withApiClient } from './cluster-input.ts';
import { versionCommand } from './version.ts';

interface Options {
  readonly cluster: boolean;
  readonly namespace: string;
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** `countersign version`, with the releases that run in a cluster where they are asked for. A sidecar's program has the plain one. */
export function versionWithClusterCommand(): Command {
  return versionCommand()
    .description('print the version; with --cluster those of what runs in a cluster too')
    .option('--cluster', 'authority, injector, sidecars and Kubernetes of the cluster too', false)
    .option('--kubeconfig <file>', 'the kubeconfig of the cluster; by default the one that kubectl uses')
    .option('--context <name>', 'the context of the kubeconfig')
    .option('-n, --namespace <name>', 'where authority and injector run', 'countersign-system')
    .action(async (options: Options) => {
      const release = programVersion();
      process.stdout.write(`countersign ${release}\n`);
      if (!options.cluster) return;
      const { gatherFacts } = await import('../checks/look-at-cluster.ts');
      const { releasesText } = await import('../checks/upgrade.ts');
      const { facts } = await withApiClient(options, (client) =>
        gatherFacts(client, { namespace: options.namespace, release }),
      );
      process.stdout.write(releasesText(facts));
    });
}
