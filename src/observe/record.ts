import { printable } from '../lib/printable.ts';
import type { FlowEnd, FlowEnding, FlowFacts } from '../proxy/flow.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { Reason } from './reasons.ts';

/** One end of a flow in a record. What is not known is null. */
export interface RecordEnd {
  readonly namespace: string | null;
  readonly pod: string | null;
  /** null: the own one, or nobody knows. */
  readonly trust_domain: string | null;
  readonly address: string;
  readonly port: number;
}

/** A flow record: one JSON line per connection. */
export interface FlowRecord {
  readonly time: string;
  readonly direction: 'inbound' | 'outbound';
  readonly verdict: 'allow' | 'deny' | 'would_deny';
  readonly reason: Reason;
  readonly peer: 'proven' | 'federated' | 'unproven' | 'external' | 'node';
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

/** What each field means, in the order in which it is written; `docs/reference.md` is made from it. */
export const RECORD_FIELDS: Readonly<
  Record<keyof FlowRecord, { readonly type: string; readonly text: string }>
> = {
  time: {
    type: 'string',
    text: 'when it was written, RFC 3339 in UTC: at once for a denial (also one that audit mode lets pass), else when the connection ended',
  },
  direction: {
    type: '`inbound`, `outbound`',
    text: 'inbound: somebody called this pod; outbound: this pod called',
  },
  verdict: {
    type: '`allow`, `deny`, `would_deny`',
    text: 'would_deny: policy denies it and audit mode let it pass',
  },
  reason: { type: 'string', text: 'one code of the reasons above' },
  peer: {
    type: '`proven`, `federated`, `unproven`, `external`, `node`',
    text: 'whether the other side proved its identity; federated: it did, and is of another trust domain; node and external go by address',
  },
  handshake: {
    type: '`full`, `resumed`, `none`',
    text: 'resumed: on the session of an earlier connection; none: identity was not exchanged',
  },
  source: {
    type: 'object',
    text: 'who called: `namespace` and `pod` (strings, null where nobody knows), `trust_domain` (of a pod of another one, else null; its namespace has the name that it has here then), `address` (string), `port` (number)',
  },
  destination: { type: 'object', text: 'who was called, likewise; behind a Service address the endpoint' },
  policy: {
    type: 'string or null',
    text: 'the policy that allowed, or for a denial the one that came nearest to allowing, as `networkpolicy/NAMESPACE/NAME`',
  },
  rule: { type: 'number or null', text: 'the rule of that policy, counted from 1' },
  bytes_in: { type: 'number', text: 'application bytes from the source to the destination' },
  bytes_out: { type: 'number', text: 'application bytes from the destination to the source' },
  duration_ms: { type: 'number', text: 'from the accepted connection to the record' },
  detail: {
    type: 'string or null',
    text: 'for people, at most 500 characters: what would have allowed it, or what exactly went wrong',
  },
};

/** A namespace's name and a pod's; Kubernetes allows 63 and 253. */
const MAX_NAME = 253;
/** `networkpolicy/NAMESPACE/NAME`. */
const MAX_POLICY = 340;
const MAX_DETAIL = 500;

/**
 * Makes the record of a connection. What is not known is null, never missing. Names come from verified tokens and from the source; they
 * are bounded and freed of control characters here all the same, since a record is read by programs that trust it.
 * @param now milliseconds since the epoch
 */
export function flowRecord(
  facts: FlowFacts,
  judgement: Judgement,
  ending: FlowEnding,
  now: number,
): FlowRecord {
  return {
    time: new Date(now).toISOString(),
    direction: facts.direction,
    verdict: judgement.verdict,
    reason: judgement.reason,
    peer: facts.peer,
    handshake: facts.handshake,
    source: recordEnd(facts.source),
    destination: recordEnd(facts.destination),
    policy: text(judgement.policy, MAX_POLICY),
    rule: judgement.rule ?? null,
    bytes_in: ending.bytesIn,
    bytes_out: ending.bytesOut,
    duration_ms: Math.round(ending.durationMs * 10) / 10,
    detail: text(judgement.detail, MAX_DETAIL),
  };
}

/** A line of the flow log, without its end. */
export function recordLine(record: FlowRecord): string {
  return JSON.stringify(record);
}

function recordEnd(end: FlowEnd): RecordEnd {
  return {
    namespace: text(end.namespace, MAX_NAME),
    pod: text(end.pod, MAX_NAME),
    trust_domain: text(end.trustDomain, MAX_NAME),
    address: end.address,
    port: end.port,
  };
}

/** An empty text says as little as none. */
function text(value: string | undefined, max: number): string | null {
  return value === undefined || value === '' ? null : printable(value, max);
}
