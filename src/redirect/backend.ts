import { EXIT, messageOf, UserError } from '../errors.ts';
import { iptablesBackend, type Variant } from './iptables-backend.ts';
import { nftBackend } from './nft-backend.ts';
import type { RuleSet } from './plan-rules.ts';
import { applyRouting, removeRouting } from './routing.ts';
import { runTool } from './tool.ts';

export type BackendName = 'nft' | 'iptables';

/** Puts rules into the kernel, by one of the tools that there are for it. Every method throws a UserError with the tool's own words. */
export interface Backend {
  readonly name: BackendName;
  /** The program, for messages. */
  readonly tool: string;
  /** Sets rules by ip_tables, not by nf_tables. */
  readonly legacy?: true;
  /** Tries out whether {@link apply} would succeed. Changes nothing. */
  test(plan: RuleSet): Promise<void>;
  apply(plan: RuleSet): Promise<void>;
  /** Takes away all that is ours, of any version; nothing there is fine. */
  remove(): Promise<void>;
  /** The rules of ours that are in force, a line each and in the tool's own writing; empty when there are none. */
  read(): Promise<string[]>;
  /** What {@link read} would give if the rules were in force as planned. */
  expected(plan: RuleSet): Promise<string[]>;
}

/** Applies by the tool asked for, else by the first that can, and removes what another one may have set before. @returns the tool */
export async function applyRules(plan: RuleSet, wanted: BackendName | undefined): Promise<Backend> {
  const all = await backends();
  const problems: string[] = [];
  for (const backend of preferred(all, plan)) {
    if (wanted !== undefined && backend.name !== wanted) continue;
    try {
      await backend.test(plan);
    } catch (error) {
      problems.push(messageOf(error));
      continue;
    }
    // Before the rules whose packets it leads: those that came earlier would leave the pod.
    if (plan.routing !== undefined) await applyRouting(plan.routing);
    await backend.apply(plan);
    if (plan.routing === undefined) await applyRouting(undefined);
    for (const other of all)
      if (other !== backend && (await rulesOrNone(other)).length > 0) await other.remove();
    return backend;
  }
  throw noWay(problems);
}

/**
 * In NFQUEUE mode each packet of an open connection is asked some rules: native nftables asks them in half the time that iptables takes
 * (docs/decisions/0099-native-nftables-in-nfqueue-mode.md), and the older of iptables' two places in the kernel in less than the newer.
 */
function preferred(all: readonly Backend[], { mode }: RuleSet): readonly Backend[] {
  if (mode === 'redirect') return all;
  const rank = ({ name, legacy }: Backend): number => (name === 'nft' ? 0 : legacy === true ? 1 : 2);
  return all.toSorted((one, other) => rank(one) - rank(other));
}

/** Removes whatever any tool has set, or the one asked for. */
export async function removeRules(wanted: BackendName | undefined): Promise<void> {
  for (const backend of await readable(wanted)) await backend.remove();
  await removeRouting();
}

/** The tool with which rules of ours are in force; when there are none, the first that works. */
export async function backendInForce(wanted: BackendName | undefined): Promise<Backend> {
  const working = await readable(wanted);
  for (const backend of working) if ((await backend.read()).length > 0) return backend;
  return working[0]!;
}

/** The tools that work here: at least one. */
async function readable(wanted: BackendName | undefined): Promise<Backend[]> {
  const working: Backend[] = [];
  const problems: string[] = [];
  for (const backend of await backends()) {
    if (wanted !== undefined && backend.name !== wanted) continue;
    try {
      await backend.read();
      working.push(backend);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  if (working.length === 0) throw noWay(problems);
  return working;
}

/** All tools that are installed, the preferred one first. The bare name `iptables` is one of the other two. */
async function backends(): Promise<Backend[]> {
  const found = [nftBackend()];
  const seen = new Set<string>();
  for (const variant of ['', '-nft', '-legacy'] satisfies Variant[]) {
    try {
      const version = await runTool([`iptables${variant}`, '--version']);
      const kind = version.includes('nf_tables') ? 'nf_tables' : 'legacy';
      if (!seen.has(kind)) found.push(iptablesBackend(variant, kind));
      seen.add(kind);
    } catch {
      // Not installed.
    }
  }
  return found;
}

async function rulesOrNone(backend: Backend): Promise<string[]> {
  try {
    return await backend.read();
  } catch {
    // A tool that does not work here has set nothing either.
    return [];
  }
}

function noWay(problems: readonly string[]): UserError {
  const said = problems.length > 0 ? problems.join('; ') : 'neither is installed';
  return new UserError(
    `no way to set netfilter rules here: it takes nftables (nft) or iptables, and the capability NET_ADMIN in this network namespace. ${said}`,
    { exitCode: EXIT.failure },
  );
}
