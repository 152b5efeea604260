import { type IptablesState, iptablesPlan } from './plan-iptables.ts';
import { nftPlan } from './plan-nft.ts';
import type { RuleSet } from './plan-rules.ts';

const NOTHING: IptablesState = { chains: [], jumps: [], rules: [] };

/** The rules as text for the tool, as `apply` sets them where there are none yet. */
export function printedPlan(plan: RuleSet, backend: 'nft' | 'iptables'): string {
  if (backend === 'nft') return nftPlan(plan);
  return ([4, 6] as const)
    .map((family) => {
      const tool = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
      return `# ${tool} --noflush\n${iptablesPlan(family, plan, NOTHING)}`;
    })
    .join('');
}
