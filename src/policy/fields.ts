/** Something wrong with an object, at a field named as the API server names it: `spec.ingress[0].from[1].ipBlock.cidr`. */
export interface FieldProblem {
  readonly field: string;
  /** What is wrong and what would be right. */
  readonly reason: string;
}

/** More is not told: who has that many faults starts with the first ones. */
const MOST_PROBLEMS = 50;

/**
 * Reads fields of an object that somebody wrote, and gathers what is wrong. Types are those of the API server's decoder: null
 * is the same as missing everywhere, a wrong type is a fault, an unknown field is passed over (and told as a warning, because
 * a misspelt `from` opens a rule to everybody).
 */
export class FieldReader {
  readonly problems: FieldProblem[] = [];
  readonly warnings: FieldProblem[] = [];
  #entriesLeft: number;

  /** @param mostEntries of all lists and maps together */
  constructor(mostEntries: number) {
    this.#entriesLeft = mostEntries;
  }

  problem(field: string, reason: string): void {
    if (this.problems.length < MOST_PROBLEMS) this.problems.push({ field, reason });
  }

  warning(field: string, reason: string): void {
    if (this.warnings.length < MOST_PROBLEMS) this.warnings.push({ field, reason });
  }

  /** An object's fields; undefined when it is missing or none. `known`: others are warned of; undefined: any may be there. */
  object(value: unknown, field: string, known?: readonly string[]): Record<string, unknown> | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) {
      this.problem(field, `must be an object, not ${typeName(value)}`);
      return undefined;
    }
    const object = value as Record<string, unknown>;
    for (const key of known === undefined ? [] : Object.keys(object)) {
      if (known!.includes(key)) continue;
      const reason = `is no field of the API and does nothing; there are ${known!.join(', ')}`;
      this.warning(field === '' ? key : `${field}.${key}`, reason);
    }
    return object;
  }

  /** A list; undefined when it is missing or none. */
  list(value: unknown, field: string): readonly unknown[] | undefined {
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value)) {
      this.problem(field, `must be a list, not ${typeName(value)}`);
      return undefined;
    }
    return this.#take(value.length, field) ? value : undefined;
  }

  /** A text; undefined when it is missing or none. */
  text(value: unknown, field: string): string | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'string') return value;
    this.problem(field, `must be a text, not ${typeName(value)}: put it in quotes`);
    return undefined;
  }

  /** A 32-bit whole number; undefined when it is missing or none. */
  integer(value: unknown, field: string): number | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'number' && (value | 0) === value) return value;
    this.problem(field, `must be a whole number${typeof value === 'string' ? ' without quotes' : ''}`);
    return undefined;
  }

  /** A map of texts. A null value counts as the empty text, as the API server decodes it. */
  texts(value: unknown, field: string): Record<string, string> {
    const object = this.object(value, field);
    if (object === undefined || !this.#take(Object.keys(object).length, field)) return {};
    // fromEntries defines keys of its own, so that a key such as __proto__ is a key and nothing else.
    return Object.fromEntries(
      Object.entries(object).map(([key, text]) => [key, this.text(text, `${field}[${key}]`) ?? '']),
    );
  }

  #take(count: number, field: string): boolean {
    if (count > this.#entriesLeft) {
      this.problem(field, 'has more entries than are accepted in one object; split the object');
      return false;
    }
    this.#entriesLeft -= count;
    return true;
  }
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  object: 'an object',
  string: 'a text',
  number: 'a number',
  boolean: 'true or false',
};

function typeName(value: unknown): string {
  return Array.isArray(value) ? 'a list' : (TYPE_NAMES[typeof value] ?? typeof value);
}
