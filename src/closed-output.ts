import { EXIT } from './errors.ts';

/**
 * What a command does whose reader left, as in `countersign policy matrix | head`: it ends quietly, without a stack. Node.js ignores SIGPIPE
 * and tells of it as an error of the stream instead. Nothing is cut short: what a command has begun it brings to its end and cleans up, and its exit
 * status is its answer as ever. Output that cannot be written for another reason is a failure: a full disk must not look like success.
 */
export function endQuietlyWithoutReader({ stdout, stderr }: Pick<NodeJS.Process, 'stdout' | 'stderr'>): void {
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    stderr.write(`countersign: cannot write the output: ${error.message}\n`);
    process.exit(EXIT.failure);
  });
  stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exit(EXIT.failure); // there is nowhere to say it
  });
}
