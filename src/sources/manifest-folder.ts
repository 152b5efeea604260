import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../errors.ts';
import { buildDirectory } from '../peers/table.ts';
import type { Pod } from '../peers/directory.ts';
import type { Labels } from '../policy/model.ts';
import { brokenFile, type ManifestFile, readManifestText } from './manifest-file.ts';
import { contentsOf } from './cluster-contents.ts';
import type { SourceProblem } from './source.ts';

const MAX_FILE_BYTES = 8 << 20;
const MAX_FOLDER_BYTES = 64 << 20;
const MAX_FILES = 10_000;
const MAX_FOLDERS = 1_000;
const MAX_DEPTH = 16;
const SUFFIX = /\.(ya?ml|json)$/i;

/** A file of the folder and what tells one state of it from another. */
export interface FolderEntry {
  readonly file: string;
  readonly fingerprint: string;
  readonly bytes: number;
  /** Something that can be opened without waiting for somebody else. */
  readonly regular: boolean;
}

/** What stands in a folder at one moment. */
export interface FolderListing {
  readonly entries: readonly FolderEntry[];
  /** The folder and its subfolders, each with its inode. */
  readonly folders: ReadonlyMap<string, string>;
}

/**
 * The manifests of a folder and its subfolders, by name. Names that begin with a dot are passed over (editors and mounted ConfigMaps keep their own
 * things there); symbolic links are followed. Throws when the folder or one of its subfolders cannot be read.
 */
export async function scanFolder(folder: string): Promise<FolderListing> {
  const entries: FolderEntry[] = [];
  const folders = new Map<string, string>();
  const seen = new Set<string>();
  const walk = async (path: string, inode: string, depth: number): Promise<void> => {
    if (seen.has(inode)) return;
    if (folders.size >= MAX_FOLDERS || depth > MAX_DEPTH)
      throw new UserError(
        `${folder} has more than ${MAX_FOLDERS} subfolders, or some deeper than ${MAX_DEPTH}`,
      );
    seen.add(inode);
    folders.set(path, inode);
    for (const entry of await readdir(path, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const wanted = SUFFIX.test(entry.name);
      if (!wanted && entry.isFile()) continue;
      const file = join(path, entry.name);
      try {
        const found = await stat(file);
        const inode = `${found.dev} ${found.ino}`;
        if (found.isDirectory()) await walk(file, inode, depth + 1);
        else if (wanted) {
          const fingerprint = `${inode} ${found.size} ${found.mtimeMs} ${found.ctimeMs}`;
          entries.push({ file, bytes: found.size, fingerprint, regular: found.isFile() });
        }
      } catch (error) {
        if (!isMissing(error)) throw error;
        // Gone since it was listed; but a link without a target may have it back in a moment, so that is no removal.
        if (wanted && entry.isSymbolicLink())
          entries.push({ file, bytes: 0, fingerprint: 'no target', regular: false });
      }
    }
  };
  const { dev, ino } = await stat(folder);
  await walk(folder, `${dev} ${ino}`, 0);
  if (entries.length > MAX_FILES) throw new UserError(`${folder} has more than ${MAX_FILES} manifests`);
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (bytes > MAX_FOLDER_BYTES && !entries.some((entry) => entry.bytes > MAX_FILE_BYTES))
    throw new UserError(`the manifests of ${folder} are ${bytes} bytes; ${MAX_FOLDER_BYTES} is the most`);
  return { entries: entries.toSorted((a, b) => (a.file < b.file ? -1 : 1)), folders };
}

/** The manifests alone; see {@link scanFolder}. */
export async function listFolder(folder: string): Promise<readonly FolderEntry[]> {
  return (await scanFolder(folder)).entries;
}

/** Reads one file; whatever is wrong with it is a problem of this file. */
export async function readManifestFile(entry: FolderEntry): Promise<ManifestFile> {
  const { file } = entry;
  if (!entry.regular) return brokenFile({ file, reason: 'is no regular file, nor a link to one' });
  const tooLarge = (bytes: string): ManifestFile =>
    brokenFile({ file, reason: `is ${bytes} bytes; ${MAX_FILE_BYTES} is the most` });
  if (entry.bytes > MAX_FILE_BYTES) return tooLarge(String(entry.bytes));
  try {
    const bytes = await readAtMost(file, MAX_FILE_BYTES + 1);
    if (bytes.length > MAX_FILE_BYTES) return tooLarge('more');
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      return brokenFile({ file, reason: 'is no text in UTF-8' });
    }
    return readManifestText(text, file);
  } catch (error) {
    return brokenFile({ file, reason: `cannot be read: ${messageOf(error)}` });
  }
}

/** A file may grow between stat and read. */
async function readAtMost(file: string, most: number): Promise<Uint8Array> {
  const handle = await open(file, 'r');
  try {
    const chunks: Uint8Array[] = [];
    let length = 0;
    while (length < most) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(Math.min(most - length, 1 << 18)));
      if (bytesRead === 0) break;
      length += bytesRead;
      chunks.push(buffer.subarray(0, bytesRead));
    }
    return Buffer.concat(chunks);
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  const { code } = (error ?? {}) as { code?: unknown };
  return code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR';
}

/**
 * Finds a pod in a folder of manifests.
 * @param name `namespace/name`
 * Throws a `UserError` that says what is wrong with the folder, or which pods there are instead.
 */
export async function findPod(folder: string, name: string): Promise<{ pod: Pod; namespaceLabels: Labels }> {
  let entries: readonly FolderEntry[];
  try {
    entries = await listFolder(folder);
  } catch (error) {
    throw new UserError(`cannot read the folder ${folder}: ${messageOf(error)}`);
  }
  const files: ManifestFile[] = [];
  // One after the other: as many open files and texts as the folder has would be too many.
  for (const entry of entries) files.push(await readManifestFile(entry));
  const [problem] = files.flatMap((file) => file.problems);
  if (problem !== undefined) throw new UserError(problemText(problem));
  const contents = contentsOf(files.flatMap((file) => file.objects));
  const found = contents.pods.find(({ pod }) => `${pod.namespace}/${pod.name}` === name);
  if (found === undefined)
    throw new UserError(`no pod ${name} in ${folder}: ${instead(contents.pods, name)}`);
  const namespaceLabels = buildDirectory(contents).namespaceLabels(found.pod.namespace);
  return { pod: found.pod, namespaceLabels };
}

function instead(pods: readonly { readonly pod: Pod }[], name: string): string {
  const names = pods.map(({ pod }) => `${pod.namespace}/${pod.name}`);
  const same = names.find((one) => one.split('/')[1] === name.split('/').at(-1));
  if (same !== undefined) return `did you mean ${same}?`;
  const more = names.length > 10 ? ` and ${names.length - 10} more` : '';
  return names.length === 0 ? 'it has no pods' : `it has ${names.slice(0, 10).join(', ')}${more}`;
}

/** `pods.yaml:12: pod/shop/web: spec.containers must be a list`. */
export function problemText({ file, line, object, reason }: SourceProblem): string {
  const place = file === undefined ? '' : `${file}${line === undefined ? '' : `:${line}`}: `;
  return `${place}${object === undefined ? '' : `${object}: `}${reason}`;
}
