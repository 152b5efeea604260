import { type Command, Option } from 'commander';
import { UserError } from '../errors.ts';
import type { Inventory, ManifestObject } from '../workloads/inventory.ts';

/** Flags that say what a policy tool reads. */
export interface InputOptions {
  readonly manifests?: readonly string[];
  readonly namespace: string;
  readonly skipRefused: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** Adds the flags of {@link InputOptions} to a command. */
export function withInput(command: Command, manifests: string): Command {
  return command
    .addOption(
      new Option('-f, --manifests <place>', manifests).argParser(
        (place: string, before: readonly string[] | undefined) => [...(before ?? []), place],
      ),
    )
    .option(
      '--kubeconfig <file>',
      'without -f: the kubeconfig of the live cluster; by default the one that kubectl uses',
    )
    .option('--context <name>', 'without -f: the context of the kubeconfig')
    .option('-n, --namespace <name>', 'namespace of objects and ends that name none', 'default')
    .option('--skip-refused', 'answer without the objects that the API server would refuse', false);
}

/**
 * Reads what the flags name.
 * @throws UserError when something in it would be refused by the API server: an answer that passes over a policy would mislead
 */
export async function readInput(options: InputOptions, places = options.manifests ?? []): Promise<Inventory> {
  const { readManifests } = await import('../workloads/read-manifests.ts');
  const { refusalText, takeInventory } = await import('../workloads/inventory.ts');
  const objects = places.length === 0 ? await liveObjects(options) : await readManifests(places);
  const inventory = takeInventory(objects, options.namespace);
  if (inventory.refused.length === 0 || options.skipRefused) return inventory;
  const told = inventory.refused.slice(0, 10).map((refusal) => {
    const { origin } = refusal;
    return `  ${origin === undefined ? '' : `${origin.file}:${origin.line}: `}${refusalText(refusal)}`;
  });
  if (inventory.refused.length > told.length)
    told.push(`  and ${inventory.refused.length - told.length} more`);
  throw new UserError(
    `the API server would refuse these objects; correct them, or pass --skip-refused to answer without them\n${told.join('\n')}`,
  );
}

/** The objects of the live cluster. */
async function liveObjects({ kubeconfig, context }: InputOptions): Promise<ManifestObject[]> {
  const { readLiveCluster } = await import('../kube/live-cluster.ts');
  return (await readLiveCluster({ kubeconfig, context })).map((value) => ({ value }));
}

/** @throws UserError when a flag has another value than those that it may have */
export function checkFormat<T extends string>(format: string, formats: readonly T[], flag = '-o'): T {
  const known = formats.find((one) => one === format);
  if (known === undefined) throw new UserError(`${flag} ${format}: has to be one of ${formats.join(', ')}`);
  return known;
}
