import type { DenyReason } from '../observe/reasons.ts';
import type { ConnectionEvent } from './connection.ts';
import type { Flow } from './flow.ts';
import type { HandshakeResult } from './handshakes.ts';
import { denied, type Judgement } from './judgement.ts';
import { kindOf } from './view.ts';

/** Ends a connection with a reason that no policy gave. */
export function refuse(flow: Flow, reason: DenyReason, detail?: string): void {
  flow.deny(denied(reason, 'enforce', detail === undefined ? {} : { detail }));
}

/** Ends a connection because of what happened instead of what was waited for. */
export function refuseEvent(flow: Flow, event: ConnectionEvent): void {
  const { reason, detail } = eventReason(event);
  refuse(flow, reason, detail);
}

/** Ends a connection whose handshake did not succeed. `judged`: what policy said last, if it was asked. */
export function refuseResult(
  flow: Flow,
  result: Exclude<HandshakeResult, { kind: 'established' }>,
  judged: Judgement | undefined,
): void {
  if (result.kind === 'failed') {
    // Who refuses under the key of a session has proven itself by it.
    if (result.peer !== undefined && flow.facts.peer !== kindOf(result.peer)) {
      flow.learn({ peer: kindOf(result.peer), handshake: 'resumed' });
    }
    if (judged?.reason === result.reason) flow.deny(judged);
    else refuse(flow, result.reason, result.detail);
  } else if (result.kind === 'unanswered' || result.kind === 'hung-up') {
    refuse(flow, 'peer-silent', result.detail);
  } else if (flow.judgement === undefined) {
    refuse(flow, 'handshake-aborted', `closed: ${result.closed.cause}`);
  } else {
    flow.end(result.closed);
  }
}

/** The reason in an event that came at the wrong time. */
export function eventReason(event: ConnectionEvent): { reason: DenyReason; detail: string } {
  switch (event.kind) {
    case 'closed':
      return { reason: 'handshake-aborted', detail: `closed: ${event.closed.cause}` };
    case 'timeout':
      return { reason: 'handshake-timeout', detail: 'nothing came in time' };
    case 'evicted':
      return { reason: 'overloaded', detail: 'newer connections took its place' };
    case 'frameTooLarge':
      return { reason: 'frame-too-large', detail: `${event.announced} bytes announced` };
    case 'notFrame':
      return event.endOfFile
        ? { reason: 'handshake-aborted', detail: 'closed in the middle of a frame' }
        : { reason: 'frame-malformed', detail: 'bytes that are no frame' };
    case 'frame':
    case 'dialled':
    case 'preamble':
    case 'turn':
      return { reason: 'frame-malformed', detail: `${event.kind} at the wrong time` };
  }
}

/** A denial as the handshake machine takes it. */
export function denial(judgement: Judgement): { allow: false; reason: DenyReason; detail: string } {
  return { allow: false, reason: judgement.reason as DenyReason, detail: judgement.detail ?? '' };
}
