import type { Reason } from './reasons.ts';

/** One end of a flow in a record. What is not known is null. */
export interface RecordEnd {
  readonly namespace: string | null;
  readonly pod: string | null;
  readonly address: string;
  readonly port: number;
}

/** A flow record: one JSON line per connection, written once. */
export interface FlowRecord {
  readonly time: string;
  readonly direction: 'inbound' | 'outbound';
  readonly verdict: 'allow' | 'deny' | 'would_deny';
  readonly reason: Reason;
  readonly peer: 'proven' | 'unproven' | 'external' | 'node';
  readonly handshake: 'full' | 'resumed' | 'none';
  readonly source: RecordEnd;
  readonly destination: RecordEnd;
  readonly policy: string | null;
  readonly rule: number | null;
  readonly bytes_in: number;
  readonly bytes_out: number;
  readonly duration_ms: number;
  readonly detail: string | null;
}

/** What each field means; `docs/reference.md` is made from it. */
export const RECORD_FIELDS: Readonly<Record<keyof FlowRecord, string>> = {
  time: 'when it was written, RFC 3339 in UTC: at once for a denial, else when the connection ended',
  direction: 'inbound: somebody called this pod; outbound: this pod called',
  verdict: 'allow, deny, or would_deny: audit mode let it pass',
  reason: 'one code of the list above',
  peer: 'whether the other side proved its identity: proven, unproven; node and external go by address',
  handshake: 'full, resumed (the session of an earlier connection), or none',
  source: 'who called: namespace, pod (null where nobody knows), address, port',
  destination: 'who was called, likewise: behind a Service address the endpoint',
  policy: 'the policy that allowed, or for a denial the one that came nearest to allowing; null: none',
  rule: 'the rule of that policy, counted from 1',
  bytes_in: 'application bytes from the source to the destination',
  bytes_out: 'application bytes from the destination to the source',
  duration_ms: 'from the accepted connection to the record',
  detail:
    'for people: what would have allowed it, or what went wrong exactly; null when there is nothing to say',
};

/** Longest detail, characters. */
const MAX_DETAIL = 500;

/** A line of the flow log, without its end. Control characters are escaped, so that a line stays one. */
export function recordLine(record: FlowRecord): string {
  const detail = record.detail === null ? null : record.detail.slice(0, MAX_DETAIL);
  return JSON.stringify({ ...record, detail, duration_ms: Math.round(record.duration_ms * 10) / 10 });
}
