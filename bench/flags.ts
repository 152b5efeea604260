import { parseArgs } from 'node:util';
import { EXIT, messageOf } from '../src/errors.ts';

type Value = number | string | boolean | readonly string[] | undefined;

/** What a flag may be, and what it is when nobody says it. */
export interface Flag<Read extends Value> {
  readonly is: string;
  /** What its value looks like in the help; undefined: it has none. */
  readonly like: string | undefined;
  readonly otherwise: Read;
  /** @throws Error which says what to write instead */
  readonly read: (text: string) => Read;
}

type Flags = Readonly<Record<string, Flag<Value>>>;
/** The values of flags by their names. */
export type Values<Of extends Flags> = {
  readonly [Name in keyof Of]: Of[Name] extends Flag<infer Read> ? Read : never;
};

/** What a command line says. */
export type ReadFlags<Of extends Flags> =
  | { readonly kind: 'values'; readonly values: Values<Of> }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly problem: string };

/** A whole number from 1 on. */
export function count(is: string, otherwise: number, most = 1_000_000): Flag<number> {
  const read = (text: string): number => {
    const number = /^\d{1,7}$/.test(text) ? Number(text) : 0;
    if (number < 1 || number > most) throw new Error(`write a whole number from 1 to ${most}`);
    return number;
  };
  return { is, like: 'N', otherwise, read };
}

/** A number above 0. */
export function amount(is: string, otherwise: number): Flag<number> {
  const read = (text: string): number => {
    if (!/^\d+(\.\d+)?$|^\.\d+$/.test(text) || Number(text) === 0) throw new Error('write a number above 0');
    return Number(text);
  };
  return { is, like: 'N', otherwise, read };
}

/** One of some words. */
export function oneOf<const Word extends string>(
  is: string,
  words: readonly Word[],
  otherwise: Word,
): Flag<Word> {
  const read = (text: string): Word => words.find((word) => word === text) ?? fail(words);
  return { is, like: words.join('|'), otherwise, read };
}

/** Some of some words, with commas between them; all of them unless told. */
export function someOf<const Word extends string>(is: string, words: readonly Word[]): Flag<readonly Word[]> {
  const read = (text: string): readonly Word[] =>
    text.split(',').map((part) => words.find((word) => word === part) ?? fail(words));
  return { is, like: words.join(','), otherwise: words, read };
}

/** Any text, such as a folder. @param like how it is called in the help */
export function text(is: string, like: string): Flag<string | undefined> {
  return { is, like, otherwise: undefined, read: (said) => said || fail([like]) };
}

/** Said or not. */
export function yes(is: string): Flag<boolean> {
  return { is, like: undefined, otherwise: false, read: () => true };
}

function fail(words: readonly string[]): never {
  throw new Error(`write ${words.join(' or ')}`);
}

/** Reads a command line. What is not among the flags is wrong, and so is whatever is no flag. */
export function readFlags<const Of extends Flags>(flags: Of, args: readonly string[]): ReadFlags<Of> {
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { like }]) => [
      name,
      { type: like === undefined ? ('boolean' as const) : ('string' as const) },
    ]),
  );
  try {
    const said = parseArgs({ args: [...args], options: { ...options, help: { type: 'boolean' } } });
    const values = said.values as Readonly<Record<string, string | boolean | undefined>>;
    if (values['help'] === true) return { kind: 'help' };
    const read = Object.entries(flags).map(
      ([name, flag]) => [name, valueOf(name, flag, values[name])] as const,
    );
    return { kind: 'values', values: Object.fromEntries(read) as Values<Of> };
  } catch (error) {
    return { kind: 'wrong', problem: messageOf(error) };
  }
}

function valueOf(name: string, flag: Flag<Value>, said: string | boolean | undefined): Value {
  if (said === undefined) return flag.otherwise;
  try {
    return flag.read(String(said));
  } catch (error) {
    throw new Error(`--${name} ${String(said)}: ${messageOf(error)}`, { cause: error });
  }
}

/** @param what the program says, in a sentence */
export function helpOf(file: string, what: string, flags: Flags): string {
  const rows = Object.entries(flags).map(([name, { is, like, otherwise }]) => {
    const unlessTold =
      like === undefined || otherwise === undefined ? '' : `; ${shown(otherwise)} unless told`;
    return `  --${name}${like === undefined ? '' : ` ${like}`}\n      ${is}${unlessTold}\n`;
  });
  return `node ${file}${rows.length === 0 ? '' : ' [FLAGS]'}\n\n${what}\n\n${rows.join('')}  --help\n`;
}

function shown(otherwise: Value): string {
  return typeof otherwise === 'number' ? String(Number(otherwise.toFixed(3))) : String(otherwise);
}

/** The flags of the program that runs; for `--help`, and for a line that is wrong, it ends here. */
export function flagsOf<const Of extends Flags>(file: string, what: string, flags: Of): Values<Of> {
  const read = readFlags(flags, process.argv.slice(2));
  if (read.kind === 'values') return read.values;
  if (read.kind === 'help') {
    process.stdout.write(helpOf(file, what, flags));
    process.exit(EXIT.ok);
  }
  process.stderr.write(`${file}: ${read.problem}; --help tells what there is\n`);
  process.exit(EXIT.usage);
}
