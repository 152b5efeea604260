import { type Command, Option } from 'commander';
import { UserError } from '../errors.ts';
import type { Inventory } from '../workloads/inventory.ts';

/** Flags that say what a policy tool reads. */
export interface InputOptions {
  readonly manifests?: readonly string[];
  readonly namespace: string;
  readonly skipRefused: boolean;
}

/** Adds the flags of {@link InputOptions} to a command. */
export function withInput(command: Command, manifests: string): Command {
  return command
    .addOption(
      new Option('-f, --manifests <place>', manifests).argParser(
        (place: string, before: readonly string[] | undefined) => [...(before ?? []), place],
      ),
    )
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
  if (places.length === 0) {
    throw new UserError(
      'reading the live cluster is not built yet: name manifests with -f DIR, -f FILE or -f - (standard input), ' +
        'for instance «kubectl get pods,namespaces,networkpolicies -A -o yaml | countersign policy ... -f -»',
    );
  }
  const inventory = takeInventory(await readManifests(places), options.namespace);
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

/** @throws UserError when a flag has another value than those that it may have */
export function checkFormat<T extends string>(format: string, formats: readonly T[], flag = '-o'): T {
  const known = formats.find((one) => one === format);
  if (known === undefined) throw new UserError(`${flag} ${format}: has to be one of ${formats.join(', ')}`);
  return known;
}
