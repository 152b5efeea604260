import { type Document, LineCounter } from 'yaml';
import { messageOf } from '../errors.ts';
import { composeBounded, ManifestSyntaxError } from './manifest-yaml.ts';
import { faultyKey, isBlank, positionOf } from './manifest-nodes.ts';
import type { SourceProblem } from './source.ts';

/** Aliases that may be resolved; what they expand to is bounded by the package with the same number. */
const MOST_ALIASES = 100;

/** One object of a file, still unchecked. */
export interface ManifestDocument {
  readonly value: unknown;
  /** The line of a field, named as the API server names it (`spec.ports[0].port`); of what is nearest around it where it is missing. */
  lineOf(field: string): number;
  /** Whether a field that has no value is written without one, as where a file was cut off. JSON cannot say that. */
  isBlank(field: string): boolean;
}

/**
 * Takes a file of YAML documents, or JSON, apart; a `List` counts as its items. Pure. Size is the caller's to bound; nesting, anchors and
 * documents are bounded here. JSON goes through the engine's own parser: the YAML parser takes a second for a megabyte.
 * @returns the documents, or what is wrong with the file and where
 */
export function parseManifest(text: string, file: string): ManifestDocument[] | SourceProblem {
  return (file.toLowerCase().endsWith('.json') ? parseJson(text) : undefined) ?? parseYaml(text, file);
}

/** undefined: no JSON; the YAML parser, which reads JSON too, then says where it is wrong. */
function parseJson(text: string): ManifestDocument[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  let lines: readonly ManifestDocument[] | undefined;
  return itemsOf(value).map((item, index) => ({
    value: item,
    isBlank: () => false,
    lineOf: (field) => {
      // Only who has a fault pays for the slow parser.
      if (lines === undefined) {
        const parsed = text.length > 1 << 20 ? [] : parseYaml(text, '');
        lines = Array.isArray(parsed) ? parsed : [];
      }
      return lines[index]?.lineOf(field) ?? 1;
    },
  }));
}

function parseYaml(text: string, file: string): ManifestDocument[] | SourceProblem {
  const lines = new LineCounter();
  const lineAt = (offset: number): number => lines.linePos(offset).line;
  const found: ManifestDocument[] = [];
  try {
    // A hole in the file: YAML has no such character, but the parser takes it.
    const hole = text.indexOf('\0');
    if (hole >= 0) throw new ManifestSyntaxError('it has a NUL byte', hole);
    for (const document of composeBounded(text, lines)) {
      const [error] = document.errors;
      if (error !== undefined) throw new ManifestSyntaxError(error.message, error.pos[0]);
      const fault = faultyKey(document.contents);
      if (fault !== undefined) throw new ManifestSyntaxError(fault.reason, fault.offset);
      found.push(...objectsOf(document, lineAt));
    }
  } catch (error) {
    const line = error instanceof ManifestSyntaxError ? { line: lineAt(error.offset) } : {};
    const [reason = ''] = messageOf(error).split('\n', 1);
    return { file, ...line, reason: `is no YAML: ${reason.slice(0, 200)}` };
  }
  return found;
}

function objectsOf(document: Document, lineAt: (offset: number) => number): ManifestDocument[] {
  const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
  if (value === null || value === undefined) return [];
  const items = itemsOf(value);
  const inList = items[0] !== value;
  const pathOf = (field: string, index: number): string =>
    inList ? `items[${index}]${field === '' ? '' : `.${field}`}` : field;
  return items.map((item, index) => ({
    value: item,
    isBlank: (field) => isBlank(document.contents, pathOf(field, index)),
    lineOf: (field) => lineAt(positionOf(document.contents, pathOf(field, index))),
  }));
}

/** `kubectl get -o yaml` prints several objects as one `List`; the API serves `PodList` and the like. */
function itemsOf(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  return typeof kind === 'string' && kind.endsWith('List') && Array.isArray(items) ? items : [value];
}
