import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import { buildDirectory } from '../peers/table.ts';
import type { Pod } from '../peers/directory.ts';
import type { Labels } from '../policy/model.ts';
import { type ManifestFile, readManifestText } from './manifest-file.ts';
import { contentsOf } from './cluster-contents.ts';
import type { SourceProblem } from './source.ts';

const MAX_FILE_BYTES = 8 << 20;
const MAX_FILES = 10_000;
const SUFFIX = /\.(ya?ml|json)$/i;

/** A file of the folder and what tells one state of it from another. */
export interface FolderEntry {
  readonly file: string;
  readonly fingerprint: string;
  readonly bytes: number;
}

/**
 * The manifests of a folder and its subfolders, by name. Names that begin with a dot are passed over (editors and mounted ConfigMaps keep their own
 * things there); symbolic links are followed. Throws when the folder cannot be read.
 */
export async function listFolder(folder: string): Promise<FolderEntry[]> {
  const names = await readdir(folder, { recursive: true });
  const wanted = names.filter((name) => SUFFIX.test(name) && !/(^|\/)\./.test(name)).toSorted();
  if (wanted.length > MAX_FILES) throw new UserError(`${folder} has more than ${MAX_FILES} manifests`);
  const entries: FolderEntry[] = [];
  for (const name of wanted) {
    const file = join(folder, name);
    try {
      const { mtimeMs, ctimeMs, size, ino, dev } = await stat(file);
      entries.push({ file, bytes: size, fingerprint: `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}` });
    } catch {
      // Gone since it was listed.
    }
  }
  return entries;
}

/** Reads one file; whatever is wrong with it is a problem of this file. */
export async function readManifestFile(entry: FolderEntry): Promise<ManifestFile> {
  const broken = (reason: string): ManifestFile => ({
    objects: [],
    problems: [{ file: entry.file, reason }],
    warnings: [],
  });
  if (entry.bytes > MAX_FILE_BYTES) return broken(`is ${entry.bytes} bytes; ${MAX_FILE_BYTES} is the most`);
  try {
    return readManifestText(await readFile(entry.file, 'utf8'), entry.file);
  } catch (error) {
    return broken(`cannot be read: ${messageOf(error)}`);
  }
}

/**
 * Finds a pod in a folder of manifests.
 * @param name `namespace/name`
 * Throws a `UserError` that says what is wrong with the folder, or which pods there are instead.
 */
export async function findPod(folder: string, name: string): Promise<{ pod: Pod; namespaceLabels: Labels }> {
  let entries: FolderEntry[];
  try {
    entries = await listFolder(folder);
  } catch (error) {
    throw new UserError(`cannot read the folder ${folder}: ${messageOf(error)}`);
  }
  const files = await Promise.all(entries.map((entry) => readManifestFile(entry)));
  const [problem] = files.flatMap((file) => file.problems);
  if (problem !== undefined) throw new UserError(problemText(problem));
  const contents = contentsOf(files.flatMap((file) => file.objects));
  const found = contents.pods.find(({ pod }) => `${pod.namespace}/${pod.name}` === name);
  if (found === undefined) {
    const names = contents.pods.map(({ pod }) => `${pod.namespace}/${pod.name}`);
    const there = names.length === 0 ? 'it has no pods' : `it has ${names.slice(0, 10).join(', ')}`;
    throw new UserError(`no pod ${name} in ${folder}: ${there}`);
  }
  const namespaceLabels = buildDirectory(contents).namespaceLabels(found.pod.namespace);
  return { pod: found.pod, namespaceLabels };
}

/** `pods.yaml:12: pod/shop/web: spec.containers must be a list`. */
export function problemText({ file, line, object, reason }: SourceProblem): string {
  const place = file === undefined ? '' : `${file}${line === undefined ? '' : `:${line}`}: `;
  return `${place}${object === undefined ? '' : `${object}: `}${reason}`;
}
