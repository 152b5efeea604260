import { readFileSync } from 'node:fs';
import { installed } from './installation.ts';

/** The version in package.json. */
export function programVersion(): string {
  const manifest = JSON.parse(readFileSync(installed('package.json'), 'utf8')) as {
    version: string;
  };
  return manifest.version;
}
