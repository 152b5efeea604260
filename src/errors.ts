/**
 * An error whose text is meant for the person at the terminal: what is wrong, where, and what to do. `main.ts` prints the
 * message alone, without a stack, and exits with `exitCode`. Any other error is a defect and is printed whole.
 */
export class UserError extends Error {
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: ExitCode; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'UserError';
    this.exitCode = options.exitCode ?? EXIT.usage;
  }
}

/** Exit statuses of every command. `docs/reference.md` lists them from here. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  deny: 3,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** One line per exit status, for the generated reference. */
export const EXIT_MEANING: Record<keyof typeof EXIT, string> = {
  ok: 'done, or the answer is yes',
  failure:
    'the work was tried and did not succeed: a demo step came out otherwise than expected, a rule is missing',
  usage:
    'the call or its input is wrong: an unknown flag, a missing file, a manifest that the API server would refuse',
  deny: 'a policy question was answered with deny',
};

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
