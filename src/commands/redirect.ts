import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT, UserError } from '../errors.ts';
import type { BackendName } from '../redirect/backend.ts';
import { checkOptions, type RedirectOptions } from '../redirect/plan.ts';
import { DEFAULT_PROXY_UID } from '../redirect/ports.ts';

interface Flags {
  readonly proxyUid: string;
  readonly mode: string;
  readonly backend?: BackendName;
  readonly excludeInboundPorts: string;
  readonly excludeOutboundPorts: string;
  readonly excludeOutboundCidrs: string;
  readonly output?: string;
}

/** `countersign redirect apply|check|remove|print`. */
export function redirectCommand(): Command {
  const redirect = new Command('redirect').description(
    "netfilter rules that lead this network namespace's TCP through the proxy",
  );
  flagged(redirect.command('apply'))
    .description('put the rules in force, in one transaction; replaces those of an earlier call')
    .action(async (flags: Flags) => {
      const options = optionsOf(flags);
      const backend = await (await import('../redirect/backend.ts')).chooseBackend(flags.backend);
      await backend.apply(options);
      say(`redirection is in force (${backend.name}, proxy uid ${options.proxyUid})`);
    });
  flagged(redirect.command('check'))
    .description('compare the rules in force with those that apply would set; exit status 1 if they differ')
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async (flags: Flags) => {
      const options = optionsOf(flags);
      const backend = await (await import('../redirect/backend.ts')).chooseBackend(flags.backend);
      const { checkRules } = await import('../redirect/check.ts');
      const result = await checkRules(backend, options);
      if (flags.output === 'json') say(JSON.stringify({ backend: backend.name, ...result }));
      else if (result.inForce) say(`the rules are in force (${backend.name})`);
      else {
        say(
          `the rules are not in force as planned (${backend.name}); 'countersign redirect apply' sets them`,
        );
        for (const line of result.missing) say(`  missing:    ${line}`);
        for (const line of result.unexpected) say(`  unexpected: ${line}`);
      }
      if (!result.inForce) process.exitCode = EXIT.failure;
    });
  redirect
    .command('remove')
    .description('take the rules away; nothing else is touched')
    .addOption(backendFlag())
    .action(async (flags: { backend?: BackendName }) => {
      const { chooseBackend } = await import('../redirect/backend.ts');
      const names: readonly BackendName[] =
        flags.backend === undefined ? ['nft', 'iptables'] : [flags.backend];
      let removed = 0;
      for (const name of names) {
        try {
          const backend = await chooseBackend(name);
          await backend.remove();
          removed++;
        } catch (error) {
          // Whichever tool is not here has set nothing either.
          if (flags.backend !== undefined || (name === 'iptables' && removed === 0)) throw error;
        }
      }
      say('no rules of countersign are in force');
    });
  flagged(redirect.command('print'))
    .description('print the rules that apply would set; needs no privilege')
    .action(async (flags: Flags) => {
      const options = optionsOf(flags);
      const { printBackend } = await import('../redirect/backend.ts');
      process.stdout.write(printBackend(flags.backend ?? 'nft').print(options));
    });
  return redirect;
}

function flagged(command: Command): Command {
  return command
    .addOption(setting('--proxy-uid <uid>', 'user that the proxy runs as').default(String(DEFAULT_PROXY_UID)))
    .addOption(
      setting('--mode <mode>', 'how identity travels').choices(['redirect', 'nfqueue']).default('redirect'),
    )
    .addOption(backendFlag())
    .addOption(
      setting(
        '--exclude-inbound-ports <ports>',
        'ports of this pod that stay as they are, separated by commas',
      ).default(''),
    )
    .addOption(
      setting(
        '--exclude-outbound-ports <ports>',
        'ports whose calls stay as they are, separated by commas',
      ).default(''),
    )
    .addOption(
      setting(
        '--exclude-outbound-cidrs <networks>',
        'networks that are called as before, separated by commas',
      ).default(''),
    );
}

function backendFlag(): Option {
  return setting('--backend <tool>', 'nft or iptables; by default the first that works').choices([
    'nft',
    'iptables',
  ]);
}

function optionsOf(flags: Flags): RedirectOptions {
  if (flags.mode !== 'redirect') {
    throw new UserError(`--mode ${flags.mode} is not built yet; --mode redirect is`);
  }
  const list = (text: string): string[] => text.split(',').filter((part) => part !== '');
  const options = {
    proxyUid: Number(flags.proxyUid),
    excludeInboundPorts: list(flags.excludeInboundPorts).map(Number),
    excludeOutboundPorts: list(flags.excludeOutboundPorts).map(Number),
    excludeOutboundCidrs: list(flags.excludeOutboundCidrs),
  };
  checkOptions(options);
  return options;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
