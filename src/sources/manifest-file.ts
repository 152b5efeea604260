import { type ClusterObject, decodeObject } from './objects.ts';
import { parseManifest } from './manifest-text.ts';
import type { SourceProblem } from './source.ts';
import { type StandIn, standInFor } from './stand-in.ts';
import { unfinishedFields } from './unfinished.ts';

/** What one file says: everything in it counts, or none of it. */
export interface ManifestFile {
  readonly objects: readonly ClusterObject[];
  /** Empty exactly when {@link objects} counts. */
  readonly problems: readonly SourceProblem[];
  /** What is odd and counts all the same. */
  readonly warnings: readonly SourceProblem[];
  /** For the NetworkPolicies among the problems: what to put in their place where nothing better is known. */
  readonly standIns: readonly StandIn[];
  /** How many objects are of kinds that decide nothing here. */
  readonly ignored: number;
}

/** A file that does not count, for one reason. */
export function brokenFile(problem: SourceProblem): ManifestFile {
  return { objects: [], problems: [problem], warnings: [], standIns: [], ignored: 0 };
}

/**
 * Reads a file's text. One broken document spoils the file, so that a half-written one never counts in part: leaving out the document
 * that denies would let through what it was written against. An empty file is a broken one: `kubectl get ... > file` empties it first and
 * writes a moment later.
 */
export function readManifestText(text: string, file: string): ManifestFile {
  if (text.trim() === '') {
    return brokenFile({ file, reason: 'is empty; remove the file if its objects are to go' });
  }
  const documents = parseManifest(text, file);
  if (!Array.isArray(documents)) return brokenFile(documents as SourceProblem);
  const objects: ClusterObject[] = [];
  const problems: SourceProblem[] = [];
  const warnings: SourceProblem[] = [];
  const standIns: StandIn[] = [];
  let ignored = 0;
  for (const document of documents) {
    const { value } = document;
    const decoded = decodeObject(value);
    if (decoded === 'ignored') {
      ignored++;
      continue;
    }
    const object = nameOf(value);
    const told = ({ field, reason }: { field: string; reason: string }): SourceProblem => ({
      file,
      line: document.lineOf(field),
      ...(object === undefined ? {} : { object }),
      reason: `${field} ${reason}`.trim(),
    });
    const faults =
      'problems' in decoded
        ? decoded.problems
        : unfinishedFields(value).filter(({ field }) => document.isBlank(field));
    if ('object' in decoded && faults.length === 0) {
      objects.push(decoded.object);
      warnings.push(...decoded.warnings.map(told));
      continue;
    }
    problems.push(...faults.map(told));
    standIns.push(...[standInFor(value) ?? []].flat());
  }
  if (problems.length > 0) return { objects: [], problems, warnings, standIns, ignored };
  return { objects, problems, warnings, standIns, ignored };
}

/** kubectl's way: `networkpolicy/shop/db-allow`, `node/n1`. Bounded, since anybody may have written it. */
function nameOf(value: unknown): string | undefined {
  const { kind, metadata } = (value ?? {}) as { kind?: unknown; metadata?: unknown };
  const { namespace, name } = (metadata ?? {}) as { namespace?: unknown; name?: unknown };
  if (typeof kind !== 'string' || typeof name !== 'string') return undefined;
  const parts = [kind.toLowerCase(), ...(typeof namespace === 'string' ? [namespace] : []), name];
  return parts.join('/').slice(0, 200);
}
