import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT, UserError } from '../errors.ts';
import type { BackendName } from '../redirect/backend.ts';
import type { RedirectOptions } from '../redirect/plan-options.ts';
import type { RuleSet } from '../redirect/plan-rules.ts';
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
    .description('put the rules in force; replaces those of an earlier call')
    .action(async (flags: Flags) => {
      const options = optionsOf(flags);
      const plan = await planOf(options);
      const { applyRules } = await import('../redirect/backend.ts');
      const { tool } = await applyRules(plan, flags.backend);
      say(`redirection is in force (${tool}, proxy uid ${options.proxyUid})`);
    });
  flagged(redirect.command('check'))
    .description('compare the rules in force with those that apply would set; exit status 1 if they differ')
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async (flags: Flags) => {
      const plan = await planOf(optionsOf(flags));
      const { backendInForce } = await import('../redirect/backend.ts');
      const { checkRules } = await import('../redirect/check.ts');
      const backend = await backendInForce(flags.backend);
      const result = await checkRules(backend, plan);
      if (flags.output === 'json') say(JSON.stringify({ backend: backend.name, ...result }));
      else if (result.inForce) say(`the rules are in force (${backend.tool})`);
      else {
        say(
          `the rules are not in force as planned (${backend.tool}); 'countersign redirect apply' sets them`,
        );
        for (const line of result.missing) say(`  missing:    ${line}`);
        for (const line of result.unexpected) say(`  unexpected: ${line}`);
      }
      if (!result.inForce) process.exitCode = EXIT.failure;
    });
  redirect
    .command('remove')
    .description('take the rules away, by whichever tool they were set; nothing else is touched')
    .addOption(backendFlag())
    .action(async (flags: { backend?: BackendName }) => {
      const { removeRules } = await import('../redirect/backend.ts');
      await removeRules(flags.backend);
      say('no rules of countersign are in force');
    });
  flagged(redirect.command('print'))
    .description('print the rules that apply would set; needs no privilege')
    .action(async (flags: Flags) => {
      const plan = await planOf(optionsOf(flags));
      const { printedPlan } = await import('../redirect/plan-print.ts');
      process.stdout.write(printedPlan(plan, flags.backend ?? 'nft'));
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
  const list = (text: string): string[] =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  return {
    proxyUid: numberOf(flags.proxyUid),
    excludeInboundPorts: list(flags.excludeInboundPorts).map(numberOf),
    excludeOutboundPorts: list(flags.excludeOutboundPorts).map(numberOf),
    excludeOutboundCidrs: list(flags.excludeOutboundCidrs),
  };
}

/** Digits alone: `0x50` and `1e3` are no ports. */
function numberOf(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new UserError(`${JSON.stringify(text.slice(0, 40))} is no number`);
  return Number(text);
}

async function planOf(options: RedirectOptions): Promise<RuleSet> {
  const { redirectPlan } = await import('../redirect/plan.ts');
  return redirectPlan(options);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
