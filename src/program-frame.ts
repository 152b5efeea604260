import { Command } from 'commander';
import { EXIT } from './errors.ts';
import { programVersion } from './version.ts';

/**
 * A command line of these commands. Each command is declared in `commands/` with its flags and loads what does its work only when it
 * runs: a sidecar pays no memory for what it never calls.
 */
export function programOf(commands: readonly Command[]): Command {
  const program = new Command('countersign')
    .description(
      'Proven label identity on every TCP connection between pods, enforced with plain NetworkPolicy.',
    )
    .version(programVersion(), '-V, --version', 'print the version')
    .showHelpAfterError('(countersign help COMMAND lists its flags)')
    .configureHelp({ sortSubcommands: true, showGlobalOptions: false });
  for (const command of commands) program.addCommand(command);
  exitWithUsageStatus(program);
  return program;
}

/** commander exits 1 on a wrong call; ours is 2, so that 1 can mean that the work itself did not succeed. */
function exitWithUsageStatus(command: Command): void {
  command.exitOverride((error) => {
    throw Object.assign(error, { exitCode: error.exitCode === 0 ? EXIT.ok : EXIT.usage });
  });
  for (const child of command.commands) exitWithUsageStatus(child);
}
