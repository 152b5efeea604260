import type { Backend } from './backend.ts';
import { NFT_TABLE, nftPlan, nftRemoval, nftRules } from './plan-nft.ts';
import { queueTargets } from './plan-nft-hooks.ts';
import type { RuleSet } from './plan-rules.ts';
import { addQueueRules, queueRulesOf } from './queue-rules.ts';
import { runTool } from './tool.ts';

const SCRATCH = `${NFT_TABLE}_check_`;

/**
 * Native nftables: one table for both families, replaced whole in one transaction. Rules that send to queues, which nft cannot write, follow by
 * netlink in a second one; between the two what is for a queue is dropped.
 */
export function nftBackend(): Backend {
  const backend: Backend = {
    name: 'nft',
    tool: 'nft',
    async test(plan) {
      await runTool(['nft', '-c', '-f', '-'], nftPlan(plan));
      // Only the kernel knows whether it takes those rules.
      if (plan.mode === 'nfqueue') await backend.expected(plan);
    },
    async apply(plan) {
      await set(plan, NFT_TABLE, nftPlan(plan));
    },
    async remove() {
      for (const table of await ownTables()) await runTool(['nft', '-f', '-'], nftRemoval(table));
    },
    async read() {
      if (!(await ownTables()).includes(NFT_TABLE)) return [];
      return rulesOf(NFT_TABLE);
    },
    async expected(plan) {
      // Only nft itself knows how this release of it writes a rule; a dormant table has no effect on traffic.
      const scratch = `${SCRATCH}${process.pid}`;
      try {
        await set(plan, scratch, nftPlan(plan, scratch));
        return await rulesOf(scratch);
      } finally {
        await runTool(['nft', '-f', '-'], nftRemoval(scratch));
      }
    },
  };
  return backend;
}

async function set(plan: RuleSet, table: string, text: string): Promise<void> {
  await runTool(['nft', '-f', '-'], text);
  const targets = queueTargets(plan);
  if (targets.length > 0) addQueueRules(table, targets);
}

/** As nft lists them, and those that send to queues once more: a release of nft may say nothing of the numbers. */
async function rulesOf(table: string): Promise<string[]> {
  const listed = nftRules(await runTool(['nft', 'list', 'table', 'inet', table]));
  return listed.some((line) => line.startsWith('queue'))
    ? [...listed, ...(await queueRulesOf(table))]
    : listed;
}

/** The table in force, and scratch tables that a killed check left. */
async function ownTables(): Promise<string[]> {
  const names = (await runTool(['nft', 'list', 'tables', 'inet'])).matchAll(/^table inet (\S+)$/gm);
  return [...names]
    .map((match) => match[1]!)
    .filter((name) => name === NFT_TABLE || name.startsWith(SCRATCH));
}
