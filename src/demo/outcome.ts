import type { FlowRecord } from '../observe/record.ts';

/** A refusal that takes longer is none that is told: it is a time-out of whoever asked. A machine that is busy takes seconds for what is told at once. */
export const TOLD_MS = 10_000;

/**
 * What came of asking for a beer: `beer` or `refused` only where what the guest saw and what the server recorded agree. A server that is down
 * refuses nobody, and says so here.
 */
export function drinkOutcome(
  served: boolean,
  flow: Pick<FlowRecord, 'verdict' | 'reason'> | undefined,
  milliseconds: number,
): string {
  const record = flow === undefined ? 'no record' : `recorded as ${flow.verdict} ${flow.reason}`;
  if (served) return flow?.verdict === 'allow' ? 'beer' : `beer, ${record}`;
  if (flow?.verdict !== 'deny' || flow.reason !== 'policy-denied') return `no beer, ${record}`;
  return milliseconds > TOLD_MS ? `refused after ${Math.round(milliseconds)} ms` : 'refused';
}

/** What became of a connection that was held open: `cut` only where the server recorded that policy did it. */
export function tabOutcome(opened: boolean, ended: string, reason: string | undefined): string {
  if (!opened) return 'never opened';
  if (ended !== 'cut' || reason === 'policy-changed') return ended;
  return `ended, ${reason ?? 'no record'}`;
}
