import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import type { ManifestObject } from './inventory.ts';
import { parseManifests } from './manifest-text.ts';

const MOST_BYTES = 256 << 20;
const SUFFIX = /\.(ya?ml|json)$/i;
const STDIN_NAME = 'standard input';

/**
 * Reads manifests from a folder with its subfolders (`.yaml`, `.yml`, `.json`), a file, or standard input (`-`).
 * @throws UserError naming the file and what to do; half an input would give a wrong answer
 */
export async function readManifests(places: readonly string[]): Promise<ManifestObject[]> {
  const objects: ManifestObject[] = [];
  for (const place of places) {
    const found = place === '-' ? parsed(await readStdin(), STDIN_NAME) : await readPlace(place);
    if (found.length === 0) {
      throw new UserError(`${place === '-' ? STDIN_NAME : place} has no Kubernetes object in it`);
    }
    objects.push(...found);
  }
  return objects;
}

async function readPlace(place: string): Promise<ManifestObject[]> {
  try {
    if (!(await stat(place)).isDirectory()) return parsed(await readFile(place, 'utf8'), place);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${place} cannot be read: ${messageOf(error)}`);
  }
  const objects: ManifestObject[] = [];
  let bytes = 0;
  // Names with a dot in front are caches and the like.
  const names = await readdir(place, { recursive: true });
  for (const name of names.filter((one) => SUFFIX.test(one) && !/(^|\/)\./.test(one)).toSorted()) {
    const text = await readFile(join(place, name), 'utf8');
    bytes += text.length;
    if (bytes > MOST_BYTES) throw new UserError(`${place} has more than ${MOST_BYTES} bytes of manifests`);
    objects.push(...parsed(text, join(place, name)));
  }
  return objects;
}

function parsed(text: string, file: string): ManifestObject[] {
  const documents = parseManifests(text, file);
  if (Array.isArray(documents)) return documents.filter(({ value }) => isKubernetesObject(value));
  const place = documents.line === undefined ? file : `${file}:${documents.line}`;
  const template = text.includes('{{')
    ? '; it looks like a Helm template: render it first, as in «helm template CHART | countersign policy ... -f -»'
    : '';
  throw new UserError(`${place}: ${documents.reason}${template}`);
}

// Folders hold other YAML too: values of charts, workflows of CI.
function isKubernetesObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'apiVersion' in value && 'kind' in value;
}

async function readStdin(): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw new UserError(`${STDIN_NAME} has more than ${MOST_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
