import { fileURLToPath } from 'node:url';

/**
 * A file that is installed with the program: the addon, package.json, the demo's manifests.
 * The folder is the parent of this file's, in a checkout (src/) and in an image (bundle/) alike.
 *
 * @param path relative to the folder that holds package.json
 */
export function installed(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}
