import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT } from '../errors.ts';

/** `countersign status`. */
export function statusCommand(): Command {
  return new Command('status')
    .description(
      'tell how a sidecar is: identity and its end, age of policy, source, redirection, connections; asked over its admin socket, so inside its pod',
    )
    .addOption(
      setting('--admin-socket <path>', 'where the sidecar serves it').default('/run/countersign/admin.sock'),
    )
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async (options: { adminSocket: string; output: 'text' | 'json' }) => {
      const { readStatus, statusText } = await import('../observe/status-reader.ts');
      const status = await readStatus(options.adminSocket);
      process.stdout.write(
        options.output === 'json'
          ? `${JSON.stringify(status, undefined, 2)}\n`
          : statusText(status, Date.now()),
      );
      if (status['ready'] !== true) process.exitCode = EXIT.failure;
    });
}
