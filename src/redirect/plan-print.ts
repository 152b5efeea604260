import { type IptablesState, iptablesPlan } from './plan-iptables.ts';
import { nftPlan } from './plan-nft.ts';
import { routingCommands } from './plan-routing.ts';
import type { RuleSet } from './plan-rules.ts';

const FAMILIES = [4, 6] as const;
const NOTHING: IptablesState = { chains: [], jumps: [], rules: [] };

/** The rules as text for the tool, as `apply` sets them where there are none yet; routes and their rules, for ip(8), are comments. */
export function printedPlan(plan: RuleSet, backend: 'nft' | 'iptables'): string {
  const { routing } = plan;
  const commands =
    routing === undefined ? [] : FAMILIES.flatMap((family) => routingCommands(family, routing));
  const head = commands.map((command) => `# ${command.join(' ')}\n`).join('');
  if (backend === 'nft') return `${head}${nftPlan(plan)}`;
  const tables = FAMILIES.map((family) => {
    const tool = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
    return `# ${tool} --noflush\n${iptablesPlan(family, plan, NOTHING)}`;
  });
  return `${head}${tables.join('')}`;
}
