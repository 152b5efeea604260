import { readFileSync } from 'node:fs';
import { Command } from 'commander';

/** `countersign version`. */
export function versionCommand(): Command {
  return new Command('version').description('print the version').action(() => {
    process.stdout.write(`countersign ${programVersion()}\n`);
  });
}

/** The version in package.json. */
export function programVersion(): string {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}
