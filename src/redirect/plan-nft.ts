import { createHash } from 'node:crypto';
import { chainAtHook, sharedHooks } from './plan-nft-hooks.ts';
import type { RuleSet } from './plan-rules.ts';

export const NFT_TABLE = 'countersign';

/**
 * The rules as one transaction for `nft -f`: replaces the own table whole and touches no other.
 * @param scratch a table of that name instead, which does nothing: nft's way of writing the same rules can be read from it
 */
export function nftPlan(plan: RuleSet, scratch?: string): string {
  const table = scratch ?? NFT_TABLE;
  const chains =
    plan.mode === 'nfqueue' ? sharedHooks(plan) : plan.chains.flatMap((chain) => chainAtHook(chain, plan));
  const hash = createHash('sha256').update(chains.join('\n')).digest('hex').slice(0, 12);
  return [
    ...replacing(table),
    `table inet ${table} {`,
    ...(scratch === undefined ? [] : ['  flags dormant']),
    `  comment "rules ${plan.version} ${hash}"`,
    ...chains,
    `}`,
    ``,
  ].join('\n');
}

/** Removes a table, also when it is not there. */
export function nftRemoval(table: string): string {
  return `${replacing(table).join('\n')}\n`;
}

/** The rules in a listing of a table, each as `chain: rule`; the table's name and what makes it a scratch one are left out. */
export function nftRules(listing: string): string[] {
  let chain = '';
  return listing
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => !/^(table .*|flags dormant|#.*|\}|)$/.test(line))
    .flatMap((line) => {
      const opens = /^chain (\S+) \{$/.exec(line);
      if (opens === null) return [chain === '' ? line : `${chain}: ${line}`];
      chain = opens[1]!;
      return [];
    });
}

function replacing(table: string): string[] {
  return [`add table inet ${table}`, `delete table inet ${table}`];
}
