import { setTimeout as sleep } from 'node:timers/promises';
import { type Counts, type Demand, voidReason } from './proof.ts';
import type { Sidecars } from './sidecars.ts';

/** Time within which a verdict that has fallen is counted. */
const COUNT_MS = 5_000;

/**
 * Throws when a client's sidecar, and those of its server's replicas together, have not counted just these connections as proven, after a moment for
 * the last of them: then nothing that was measured means anything.
 * @param ends the client, then its servers
 * @param before what they had counted when the load began, in that order
 */
export async function prove(
  sidecars: Sidecars,
  ends: readonly string[],
  before: readonly Counts[],
  demand: Omit<Demand, 'direction'>,
): Promise<void> {
  for (const deadline = Date.now() + COUNT_MS; ; await sleep(50)) {
    const after = await sidecars.counts(ends);
    const why =
      voidReason(before.slice(0, 1), after.slice(0, 1), { direction: 'outbound', ...demand }) ??
      voidReason(before.slice(1), after.slice(1), { direction: 'inbound', ...demand });
    if (why === undefined) return;
    if (Date.now() > deadline) throw new Error(`the sample is void: ${why}`);
  }
}
