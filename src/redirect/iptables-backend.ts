import { existsSync } from 'node:fs';
import type { Backend } from './backend.ts';
import {
  iptablesPlan,
  iptablesRemoval,
  iptablesScratch,
  iptablesScratchRemoval,
  iptablesScratchRules,
  type IptablesState,
  iptablesState,
  chainsOf,
  jumpTo,
} from './plan-iptables.ts';
import type { RuleSet } from './plan-rules.ts';
import { runTool } from './tool.ts';

/** `-legacy` and `-nft` keep their rules in different places of the kernel; which one the bare name means differs from machine to machine. */
export type Variant = '' | '-legacy' | '-nft';

/** Seconds to wait for another program that changes rules. */
const LOCK = ['-w', '5'];

/**
 * iptables and ip6tables. One commit per table and family is atomic, the whole is not: both families are tried out before the first is
 * changed, and the order of the tables refuses in between rather than letting pass.
 */
export function iptablesBackend(variant: Variant, kind: 'nf_tables' | 'legacy'): Backend {
  const tool = (family: 4 | 6, what: '-save' | '-restore'): string =>
    `${family === 4 ? 'iptables' : 'ip6tables'}${variant}${what}`;
  const save = (family: 4 | 6): Promise<string> => runTool([tool(family, '-save')]);
  const restore = async (family: 4 | 6, text: string, ...flags: string[]): Promise<void> => {
    if (text !== '') await runTool([tool(family, '-restore'), ...LOCK, '--noflush', ...flags], text);
  };
  const planOf = async (family: 4 | 6, plan: RuleSet): Promise<string> =>
    iptablesPlan(family, plan, iptablesState(await save(family)));
  const backend: Backend = {
    name: 'iptables',
    tool: `iptables${variant}`,
    ...(kind === 'legacy' ? { legacy: true } : {}),
    async test(plan) {
      for (const family of families()) await restore(family, await planOf(family, plan), '--test');
    },
    async apply(plan) {
      await backend.test(plan);
      for (const family of families()) await restore(family, await planOf(family, plan));
    },
    async remove() {
      for (const family of families()) {
        await restore(family, iptablesRemoval(iptablesState(await save(family))));
      }
    },
    async read() {
      const lines: string[] = [];
      for (const family of families()) lines.push(...stateLines(family, iptablesState(await save(family))));
      return lines;
    },
    async expected(plan) {
      const lines: string[] = [];
      for (const family of families()) {
        const suffix = process.pid.toString(36);
        let text = '';
        try {
          await restore(family, iptablesScratch(family, plan, suffix));
          text = await save(family);
        } finally {
          await restore(family, iptablesScratchRemoval(await save(family), suffix));
        }
        lines.push(
          ...stateLines(family, {
            chains: [],
            jumps: chainsOf(family, plan).map((chain) => ({
              table: chain.table,
              line: jumpTo(chain, plan),
              first: true,
            })),
            rules: iptablesScratchRules(text, suffix),
          }),
        );
      }
      return lines;
    },
  };
  return backend;
}

/** Where the kernel has no IPv6, there is nothing of it to redirect. */
function families(): (4 | 6)[] {
  return existsSync('/proc/self/net/if_inet6') ? [4, 6] : [4];
}

function stateLines(family: 4 | 6, { jumps, rules }: IptablesState): string[] {
  return [
    ...jumps
      .map(({ table, line, first }) => `${table} ${line}${first ? '' : ' (others stand before it)'}`)
      .toSorted(),
    ...rules.toSorted((one, other) => labelOf(one).localeCompare(labelOf(other))),
  ].map((line) => `IPv${family} ${line}`);
}

/** The chain of a rule; within one, the order of the rules is part of what they mean. */
function labelOf(rule: string): string {
  return rule.slice(0, rule.indexOf(':'));
}
