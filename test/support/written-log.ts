import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What a container has written, from kubelet's files (`NAMESPACE_POD_UID/CONTAINER/N.log`, the CRI log format: time, stream and `F` or `P` before each line).
 * Of all its starts, the oldest first; empty where there is nothing yet.
 */
export function writtenLog(logs: string, namespace: string, pod: string, container: string): string {
  const texts: string[] = [];
  for (const one of names(logs).filter((name) => name.startsWith(`${namespace}_${pod}_`))) {
    const folder = join(logs, one, container);
    const files = names(folder).toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
    for (const file of files) texts.push(readFileSync(join(folder, file), 'utf8'));
  }
  return texts
    .join('')
    .split('\n')
    .map((line) => line.replace(/^\S+ std(?:out|err) [FP] /, ''))
    .join('\n');
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Not there yet.
    return [];
  }
}
