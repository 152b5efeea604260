import { Command, Option } from 'commander';
import { setting } from '../config.ts';
import { EXIT, messageOf, UserError } from '../errors.ts';
import type { BackendName } from '../redirect/backend.ts';
import type { Finding } from '../redirect/finding.ts';
import { DEFAULT_MARK_MASK, Marks } from '../nfqueue/marks.ts';
import { DEFAULT_QUEUES } from '../nfqueue/queue-numbers.ts';
import type { NfqueueOptions } from '../redirect/plan-nfqueue.ts';
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
  readonly firstQueue: string;
  readonly queues: string;
  readonly markMask: string;
  readonly keepSourceAddress?: boolean;
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
      const plan = await planOf(flags);
      const { applyRules } = await import('../redirect/backend.ts');
      const { tool } = await applyRules(plan, flags.backend);
      say(
        `redirection is in force (${tool}, proxy uid ${flags.proxyUid}${plan.mode === 'nfqueue' ? ', mode nfqueue' : ''})`,
      );
    });
  flagged(redirect.command('check'))
    .description('compare the rules in force with those that apply would set; exit status 1 if they differ')
    .addOption(new Option('-o, --output <format>', 'text or json').choices(['text', 'json']).default('text'))
    .action(async (flags: Flags) => {
      const plan = await planOf(flags);
      const { backendInForce } = await import('../redirect/backend.ts');
      const { checkRules } = await import('../redirect/check.ts');
      const backend = await backendInForce(flags.backend);
      const result = await checkRules(backend, plan);
      const findings = await findingsOf(flags);
      if (flags.output === 'json') say(JSON.stringify({ backend: backend.name, ...result, findings }));
      else if (result.inForce) say(`the rules are in force (${backend.tool})`);
      else {
        say(
          `the rules are not in force as planned (${backend.tool}); 'countersign redirect apply' sets them`,
        );
        for (const line of result.missing) say(`  missing:    ${line}`);
        for (const line of result.unexpected) say(`  unexpected: ${line}`);
      }
      const { length: problems } = findings.filter(({ level }) => level === 'problem');
      if (flags.output !== 'json')
        for (const { level, what } of findings) say(`  ${`${level}:`.padEnd(11)} ${what}`);
      if (!result.inForce || problems > 0) process.exitCode = EXIT.failure;
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
      const plan = await planOf(flags);
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
    .addOption(
      setting('--first-queue <number>', 'nfqueue: number of the first queue').default(
        String(DEFAULT_QUEUES.first),
      ),
    )
    .addOption(
      setting(
        '--queues <count>',
        'nfqueue: how many queues there are; the first is for calls of the pod, the others for calls to it',
      ).default(String(DEFAULT_QUEUES.count)),
    )
    .addOption(
      setting('--mark-mask <mask>', 'nfqueue: eight bits of the marks, for countersign alone').default(
        `0x${DEFAULT_MARK_MASK.toString(16).padStart(8, '0')}`,
      ),
    )
    .addOption(
      setting(
        '--keep-source-address',
        "redirect: the application sees the client's address; for a proxy with the same flag",
      ),
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
    keepSource: flags.keepSourceAddress === true,
  };
}

/** Digits alone: `0x50` and `1e3` are no ports. */
function numberOf(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new UserError(`${JSON.stringify(text.slice(0, 40))} is no number`);
  return Number(text);
}

async function planOf(flags: Flags): Promise<RuleSet> {
  if (flags.mode === 'nfqueue') {
    const { KEEP_SOURCE_IN_QUEUES } = await import('../redirect/plan-options.ts');
    if (flags.keepSourceAddress === true) throw new UserError(KEEP_SOURCE_IN_QUEUES);
    const { nfqueuePlan } = await import('../redirect/plan-nfqueue.ts');
    return nfqueuePlan(nfqueueOptionsOf(flags));
  }
  const { redirectPlan } = await import('../redirect/plan.ts');
  return redirectPlan(optionsOf(flags));
}

function nfqueueOptionsOf(flags: Flags): NfqueueOptions {
  const queues = { first: numberOf(flags.firstQueue), count: numberOf(flags.queues) };
  return { ...optionsOf(flags), queues, marks: marksOf(flags.markMask) };
}

function marksOf(text: string): Marks {
  if (!/^0x[0-9a-f]{1,8}$/i.test(text))
    throw new UserError(`--mark-mask ${text.slice(0, 40)}: write 0x0ff00000`);
  try {
    return new Marks(Number(text));
  } catch (error) {
    throw new UserError(`--mark-mask: ${messageOf(error)}`);
  }
}

async function findingsOf(flags: Flags): Promise<readonly Finding[]> {
  if (flags.mode !== 'nfqueue') return [];
  const { nfqueueSurroundings } = await import('../redirect/nfqueue-surroundings.ts');
  return nfqueueSurroundings(nfqueueOptionsOf(flags));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
