import { LineCounter, parseAllDocuments } from 'yaml';
import { messageOf } from '../errors.ts';
import type { ManifestObject } from './inventory.ts';

/** What is wrong with a file's text. `line` is undefined when it is not known. */
export interface TextFault {
  readonly file: string;
  readonly line: number | undefined;
  readonly reason: string;
}

/** Enough for anchors that people write, too few for a bomb. */
const MOST_ALIASES = 100;

/**
 * Takes a file's text apart into its documents: YAML as kubectl reads it (1.1: `yes` and `on` are no texts, `<<` merges), or
 * JSON. Pure.
 */
export function parseManifests(text: string, file: string): ManifestObject[] | TextFault {
  const json = parseJson(text);
  if (json !== undefined) return [{ value: json, origin: { file, line: 1 } }];
  const lines = new LineCounter();
  const found: ManifestObject[] = [];
  try {
    const documents = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      version: '1.1',
      // kubectl knows neither times of day in base 60 nor dates: both are texts to it.
      customTags: (tags) =>
        tags.filter(
          (tag) =>
            typeof tag === 'string' || (tag.format !== 'TIME' && tag.tag !== 'tag:yaml.org,2002:timestamp'),
        ),
    });
    for (const document of documents) {
      const [error] = document.errors;
      if (error !== undefined) {
        const { line } = lines.linePos(error.pos[0]);
        return { file, line, reason: `is no YAML: ${firstLine(error.message)}` };
      }
      const value: unknown = document.toJS({ maxAliasCount: MOST_ALIASES });
      if (value === null || value === undefined) continue;
      const { line } = lines.linePos(document.contents?.range?.[0] ?? 0);
      found.push({ value, origin: { file, line } });
    }
  } catch (error) {
    return { file, line: undefined, reason: `is no YAML: ${firstLine(messageOf(error))}` };
  }
  return found;
}

// Dumps of clusters are large, and JSON is read many times faster than YAML.
function parseJson(text: string): unknown {
  if (!/^\s*\{/.test(text)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // A YAML document may begin like this too, and its errors name a line.
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
