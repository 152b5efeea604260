import { existsSync } from 'node:fs';
import { EXIT, messageOf, UserError } from '../errors.ts';
import { KEEP_SOURCE_ROUTING } from './plan-keep-source.ts';
import {
  routingCommands,
  routingLines,
  routingRemoval,
  type RoutingState,
  routingState,
} from './plan-routing.ts';
import type { Routing } from './plan-rules.ts';
import { runTool } from './tool.ts';

/**
 * Puts the routing of a plan in force by ip(8), or takes away what an earlier plan had, where this one has none. Changes nothing that is as
 * it should be.
 * @throws UserError with what `ip` says
 */
export async function applyRouting(routing: Routing | undefined): Promise<void> {
  if (routing === undefined) {
    await removeRouting();
    return;
  }
  for (const family of families()) {
    const state = await stateOf(family, routing.table);
    if (sameLines(state.lines, routingLines(family, routing))) continue;
    await run([...routingRemoval(family, routing.table, state), ...routingCommands(family, routing)]);
  }
}

/** Takes our table and the rules that lead to it away. Where there is no ip(8), none of it was set. */
export async function removeRouting(): Promise<void> {
  const { table } = KEEP_SOURCE_ROUTING;
  if (!(await hasIp())) return;
  for (const family of families()) await run(routingRemoval(family, table, await stateOf(family, table)));
}

/** What of ours is in force, a line each. */
export async function routingInForce(): Promise<string[]> {
  if (!(await hasIp())) return [];
  const lines: string[] = [];
  for (const family of families()) lines.push(...(await stateOf(family, KEEP_SOURCE_ROUTING.table)).lines);
  return lines;
}

/** What {@link routingInForce} gives when the routing is in force as planned. */
export function routingExpected(routing: Routing | undefined): string[] {
  return routing === undefined ? [] : families().flatMap((family) => routingLines(family, routing));
}

async function stateOf(family: 4 | 6, table: number): Promise<RoutingState> {
  const show = (...what: string[]): Promise<string> => runTool(['ip', '-N', '-j', `-${family}`, ...what]);
  const [rules, routes] = [await show('rule', 'show'), await show('route', 'show', 'table', 'all')];
  try {
    return routingState(family, table, rules, routes);
  } catch (error) {
    throw new UserError(
      `ip: prints what cannot be read (${messageOf(error)}): it takes iproute2 with JSON, 4.18 or later`,
      {
        exitCode: EXIT.failure,
      },
    );
  }
}

async function run(commands: readonly (readonly string[])[]): Promise<void> {
  for (const command of commands) await runTool(command);
}

async function hasIp(): Promise<boolean> {
  try {
    await runTool(['ip', '-V']);
    return true;
  } catch {
    return false;
  }
}

function sameLines(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((line, index) => line === other[index]);
}

/** Where the kernel has no IPv6, there is nothing of it to lead. */
function families(): (4 | 6)[] {
  return existsSync('/proc/self/net/if_inet6') ? [4, 6] : [4];
}
