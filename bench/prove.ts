import { setTimeout as sleep } from 'node:timers/promises';
import { type Counts, type Demand, voidReason } from './proof.ts';
import type { Sidecars } from './sidecars.ts';

/** Time within which a verdict that has fallen is counted. */
const COUNT_MS = 5_000;

/**
 * Throws when a client's and a server's sidecar have not counted just these connections, after a moment for the last of them.
 * @param ends client and server
 * @param before what they had counted when the load began
 */
export async function prove(
  sidecars: Sidecars,
  ends: readonly string[],
  before: readonly Counts[],
  demand: Omit<Demand, 'direction'>,
): Promise<void> {
  for (const deadline = Date.now() + COUNT_MS; ; await sleep(50)) {
    const [client, server] = await sidecars.counts(ends);
    const why =
      voidReason([before[0]!], [client!], { direction: 'outbound', ...demand }) ??
      voidReason([before[1]!], [server!], { direction: 'inbound', ...demand });
    if (why === undefined) return;
    if (Date.now() > deadline) throw new Error(`the sample is void: ${why}`);
  }
}
