import { type ClusterObject, decodeObject } from './objects.ts';
import { parseManifest } from './manifest-text.ts';
import type { SourceProblem } from './source.ts';

/** What one file says: everything in it counts, or none of it. */
export interface ManifestFile {
  readonly objects: readonly ClusterObject[];
  /** Empty exactly when {@link objects} counts. */
  readonly problems: readonly SourceProblem[];
  /** What is odd and counts all the same. */
  readonly warnings: readonly SourceProblem[];
}

/**
 * Reads a file's text. One broken document spoils the file, so that a half-written one never counts in part: leaving out the document
 * that denies would let through what it was written against.
 */
export function readManifestText(text: string, file: string): ManifestFile {
  const documents = parseManifest(text, file);
  if (!Array.isArray(documents)) return { objects: [], problems: [documents as SourceProblem], warnings: [] };
  const objects: ClusterObject[] = [];
  const problems: SourceProblem[] = [];
  const warnings: SourceProblem[] = [];
  for (const { value, line } of documents) {
    const decoded = decodeObject(value);
    if (decoded === 'ignored') continue;
    const object = nameOf(value);
    const told = ({ field, reason }: { field: string; reason: string }): SourceProblem => ({
      file,
      line,
      ...(object === undefined ? {} : { object }),
      reason: `${field} ${reason}`,
    });
    if ('problems' in decoded) problems.push(...decoded.problems.map(told));
    else {
      objects.push(decoded.object);
      warnings.push(...decoded.warnings.map(told));
    }
  }
  return problems.length > 0 ? { objects: [], problems, warnings } : { objects, problems, warnings };
}

/** kubectl's way: `networkpolicy/shop/db-allow`, `node/n1`. Bounded, since anybody may have written it. */
function nameOf(value: unknown): string | undefined {
  const { kind, metadata } = (value ?? {}) as { kind?: unknown; metadata?: unknown };
  const { namespace, name } = (metadata ?? {}) as { namespace?: unknown; name?: unknown };
  if (typeof kind !== 'string' || typeof name !== 'string') return undefined;
  const parts = [kind.toLowerCase(), ...(typeof namespace === 'string' ? [namespace] : []), name];
  return parts.join('/').slice(0, 200);
}
