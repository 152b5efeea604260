import { type Command, CommanderError } from 'commander';
import { endQuietlyWithoutReader } from './closed-output.ts';
import { EXIT, UserError } from './errors.ts';

/** How long what failed may take to end by itself: its last words are written by then. */
const LINGER_MS = 1_000;

/** Runs a command line to its end and sets the exit status; errors of a user's are a sentence, defects a stack. */
export async function runProgram(program: Command): Promise<void> {
  endQuietlyWithoutReader(process);
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode;
    } else if (error instanceof UserError) {
      process.stderr.write(`countersign: ${error.message}\n`);
      process.exitCode = error.exitCode;
      endSoon();
    } else {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      process.stderr.write(`countersign: ${text}\n`);
      process.exitCode = EXIT.failure;
      endSoon();
    }
  }
}

/** A server that failed half-way has threads and sockets, and signals that it listens for: nothing of it would ever end the process. */
function endSoon(): void {
  setTimeout(() => process.exit(), LINGER_MS).unref();
}
