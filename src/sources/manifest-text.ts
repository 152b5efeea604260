import { LineCounter, parseAllDocuments } from 'yaml';
import type { SourceProblem } from './source.ts';
import { messageOf } from '../errors.ts';

/** Enough for anchors that people write, too few for a bomb. */
const MOST_ALIASES = 100;

/** One document of a file: an object of the API, still unchecked, and where it begins. */
export interface ManifestDocument {
  readonly value: unknown;
  readonly line: number;
}

/**
 * Takes a file of YAML documents, or JSON, apart; a `List` counts as its items. Pure.
 * @returns the documents, or what is wrong with the file and where
 */
export function parseManifest(text: string, file: string): ManifestDocument[] | SourceProblem {
  const lines = new LineCounter();
  const found: ManifestDocument[] = [];
  try {
    for (const document of parseAllDocuments(text, { lineCounter: lines, prettyErrors: false })) {
      const [error] = document.errors;
      if (error !== undefined) {
        return {
          file,
          line: lines.linePos(error.pos[0]).line,
          reason: `no YAML: ${firstLine(error.message)}`,
        };
      }
      const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
      if (value === null || value === undefined) continue;
      const { line } = lines.linePos(document.contents?.range?.[0] ?? 0);
      for (const item of itemsOf(value)) found.push({ value: item, line });
    }
  } catch (error) {
    return { file, reason: `no YAML: ${firstLine(messageOf(error))}` };
  }
  return found;
}

function itemsOf(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  return typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items) ? items : [value];
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
