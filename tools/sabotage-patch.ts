/** One way to break the product, from `test/sabotage/`. */
export interface Patch {
  readonly name: string;
  /** The property that is gone. */
  readonly breaks: string;
  /** What must notice, each of them: a test file, and a part of a test's name there. */
  readonly red: readonly { readonly file: string; readonly test: string }[];
  readonly changes: readonly FileChange[];
}

export interface FileChange {
  readonly file: string;
  readonly hunks: readonly { readonly before: string; readonly after: string }[];
}

/**
 * Reads a unified diff with `# breaks: the property` and lines `# red: test file: part of a test's name` above it.
 * @param name the file's name, for errors
 */
export function parsePatch(name: string, text: string): Patch {
  const lines = text.split('\n');
  const header = (key: string): string[] => {
    const found = lines.filter((line) => line.startsWith(`# ${key}: `));
    if (found.length === 0) throw new Error(`${name}: has no line '# ${key}: …'`);
    return found.map((line) => line.slice(key.length + 4).trim());
  };
  const changes: { file: string; hunks: { before: string; after: string }[] }[] = [];
  for (const line of lines) {
    if (line.startsWith('+++ b/')) changes.push({ file: line.slice('+++ b/'.length), hunks: [] });
    else if (line.startsWith('--- a/') || line.startsWith('#') || line === '') continue;
    else if (line.startsWith('@@')) changes.at(-1)?.hunks.push({ before: '', after: '' });
    else {
      const hunk = changes.at(-1)?.hunks.at(-1);
      if (hunk === undefined || !' +-'.includes(line[0]!)) throw new Error(`${name}: no diff line: ${line}`);
      if (line[0] !== '+') hunk.before += `${line.slice(1)}\n`;
      if (line[0] !== '-') hunk.after += `${line.slice(1)}\n`;
    }
  }
  if (changes.length === 0 || changes.some(({ hunks }) => hunks.length === 0)) {
    throw new Error(`${name}: changes nothing`);
  }
  if (new Set(changes.map(({ file }) => file)).size < changes.length) {
    throw new Error(`${name}: names a file twice; all its hunks belong under one header`);
  }
  const red = header('red').map((line) => {
    const [, file, test] = /^(\S+): (.+)$/.exec(line) ?? [];
    if (file === undefined || test === undefined) {
      throw new Error(
        `${name}: '# red: ${line}' has to be a test file, a colon, and a part of a test's name`,
      );
    }
    return { file, test };
  });
  return { name, breaks: header('breaks').join(' '), red, changes };
}

/** Applies the hunks wherever their lines stand, which must be in one place: line numbers are for readers. */
export function applyTo(
  text: string,
  change: FileChange,
): { readonly text: string } | { readonly problem: string } {
  let changed = text;
  for (const { before, after } of change.hunks) {
    const at = `\n${changed}`.indexOf(`\n${before}`);
    if (at < 0) return { problem: `the patch no longer applies, there is no\n${before}` };
    if (`\n${changed}`.includes(`\n${before}`, at + 1)) {
      return { problem: `the patch fits in two places, it needs more context:\n${before}` };
    }
    changed = changed.slice(0, at) + after + changed.slice(at + before.length);
  }
  return { text: changed };
}
