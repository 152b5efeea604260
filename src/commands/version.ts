import { Command } from 'commander';
import { programVersion } from '../version.ts';

/** `countersign version`. */
export function versionCommand(): Command {
  return new Command('version').description('print the version').action(() => {
    process.stdout.write(`countersign ${programVersion()}\n`);
  });
}
