import type { Backend } from './backend.ts';
import { NFT_TABLE, nftPlan, nftRemoval, nftRules } from './plan-nft.ts';
import { runTool } from './tool.ts';

const SCRATCH = `${NFT_TABLE}_check_`;

/** Native nftables: one table for both families, replaced whole in one transaction. */
export function nftBackend(): Backend {
  return {
    name: 'nft',
    tool: 'nft',
    async test(plan) {
      await runTool(['nft', '-c', '-f', '-'], nftPlan(plan));
    },
    async apply(plan) {
      await runTool(['nft', '-f', '-'], nftPlan(plan));
    },
    async remove() {
      for (const table of await ownTables()) await runTool(['nft', '-f', '-'], nftRemoval(table));
    },
    async read() {
      if (!(await ownTables()).includes(NFT_TABLE)) return [];
      return nftRules(await runTool(['nft', 'list', 'table', 'inet', NFT_TABLE]));
    },
    async expected(plan) {
      // Only nft itself knows how this release of it writes a rule; a dormant table has no effect on traffic.
      const scratch = `${SCRATCH}${process.pid}`;
      try {
        await runTool(['nft', '-f', '-'], nftPlan(plan, scratch));
        return nftRules(await runTool(['nft', 'list', 'table', 'inet', scratch]));
      } finally {
        await runTool(['nft', '-f', '-'], nftRemoval(scratch));
      }
    },
  };
}

/** The table in force, and scratch tables that a killed check left. */
async function ownTables(): Promise<string[]> {
  const names = (await runTool(['nft', 'list', 'tables', 'inet'])).matchAll(/^table inet (\S+)$/gm);
  return [...names]
    .map((match) => match[1]!)
    .filter((name) => name === NFT_TABLE || name.startsWith(SCRATCH));
}
