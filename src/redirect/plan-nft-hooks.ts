import { matchText, PRIORITY, queueChain, ruleText } from './plan-nft-text.ts';
import type { Chain, Match, QueueTarget, Rule, RuleSet } from './plan-rules.ts';

/** A chain that the kernel calls by itself. */
export function chainAtHook(chain: Chain, plan: RuleSet): string[] {
  const filtering = chain.reroutes === true ? 'route' : 'filter';
  const type = chain.table === 'nat' ? 'nat' : filtering;
  return [
    `  chain ${chain.name} {`,
    `    type ${type} hook ${chain.hook} priority ${PRIORITY[chain.table]}; policy accept;`,
    `    meta l4proto != tcp return`,
    ...chain.rules.map((rule) => `    ${ruleText(rule, chain, plan)}`),
    `  }`,
  ];
}

interface Hook {
  readonly name: string;
  readonly hook: Chain['hook'];
  /** The first says where among others the kernel calls it. */
  readonly tables: readonly Chain['table'][];
}

/** What comes in meets the queueing chain and the filter one behind the other. Of what goes out nat takes its part in between. */
const HOOKS: readonly Hook[] = [
  { name: 'prerouting', hook: 'prerouting', tables: ['raw'] },
  { name: 'input', hook: 'input', tables: ['mangle', 'filter'] },
  { name: 'output', hook: 'output', tables: ['mangle'] },
  { name: 'output_behind_nat', hook: 'output', tables: ['filter'] },
];

/**
 * NFQUEUE mode: to be called at a hook is what costs an open connection most, so that chains share one where they can, and the rules by which most packets leave
 * stand at its head (docs/decisions/0099-native-nftables-in-nfqueue-mode.md). Where a chain queues, the policy is to drop: whoever empties it closes it.
 */
export function sharedHooks(plan: RuleSet): string[] {
  const nat = plan.chains.filter(({ table }) => table === 'nat');
  const others = plan.chains.filter(({ table }) => table !== 'nat');
  return [
    ...queueTargets(plan).flatMap(closedQueue),
    ...others.flatMap((chain) => [
      `  chain ${chain.name} {`,
      ...chain.rules.filter(met).map((rule) => `    ${ruleText(rule, chain, plan)}`),
      `  }`,
    ]),
    ...HOOKS.flatMap((hook) => hookLines(hook, plan)),
    ...nat.flatMap((chain) => chainAtHook(chain, plan)),
  ];
}

/** All queues that packets are sent to, each once. */
export function queueTargets(plan: RuleSet): QueueTarget[] {
  const found = new Map<string, QueueTarget>();
  for (const { then } of plan.chains.flatMap(({ rules }) => rules)) {
    if (typeof then === 'object' && 'queue' in then) found.set(queueChain(then), then);
  }
  return [...found.values()];
}

/** nft itself has no statement for the target NFQUEUE: a rule with it is put before this one, and until then nothing passes. */
function closedQueue(target: QueueTarget): string[] {
  const { queue, count } = target;
  return [
    `  chain ${queueChain(target)} {`,
    `    # By netlink, before the next rule: target NFQUEUE, ${count === 1 ? `queue ${queue}` : `queues ${queue} to ${queue + count - 1}`}`,
    `    drop comment "not without its queue"`,
    `  }`,
  ];
}

function hookLines({ name, hook, tables }: Hook, plan: RuleSet): string[] {
  const chains = plan.chains.filter((chain) => chain.hook === hook && tables.includes(chain.table));
  const condition = (match: Match): string => matchText(match, hook, plan);
  const heads = chains.flatMap(({ rules }) => rules.filter((rule) => !met(rule)));
  const jumps = chains.map((chain) =>
    [...(chain.entry ?? []).map(condition), `meta l4proto ${chain.of ?? 'tcp'} jump ${chain.name}`].join(' '),
  );
  const queues = heads.length > 0;
  return [
    `  chain ${name} {`,
    `    type filter hook ${hook} priority ${PRIORITY[tables[0]!]}; policy ${queues ? 'drop' : 'accept'};`,
    ...heads.map(({ when, why }) => `    ${when.map(condition).join(' ')} accept comment "${why}"`),
    ...jumps.map((jump) => `    ${jump}`),
    ...(queues ? ['    accept comment "asked, or not TCP"'] : []),
    `  }`,
  ];
}

/** Rules without a comment are those that each packet meets: they stand at the hook itself. */
function met({ bare }: Rule): boolean {
  return bare !== true;
}
