import type { Endpoint } from '../lib/address.ts';
import { MONOTONIC_ORIGIN } from '../lib/monotonic-origin.ts';
import type { GivenPass } from '../proxy/passes.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { endOf, kindOf, ownEnd } from '../proxy/view.ts';
import { endpointsOf } from './flow-endpoints.ts';
import { answererJudge } from './judge-answerer.ts';
import { windowAfter } from './packets-options.ts';
import type { PassRecord } from './pass-records.ts';
import { OpenContext, QueuedFlow } from './queued-flow.ts';

/** Of the maximum segment: the options of SYN and SYN-ACK that passes answer. */
const OPTIONS_BYTES = 20;

/** A flow that a pass has begun, as if it had gone through the reducers: the same state, and the same facts. */
export type PassedFlow =
  /** Proven and allowed; whether it is the kernel's, too, the record says. */
  | { readonly kind: 'open'; readonly one: QueuedFlow; readonly pass: GivenPass }
  /** Its Hello is on the way. */
  | { readonly kind: 'calling'; readonly one: QueuedFlow };

/** @returns undefined when nobody knows any more what its pass was about */
export function passedFlow(
  record: PassRecord,
  around: Surroundings,
  cut: (one: QueuedFlow) => void,
): PassedFlow | undefined {
  const pass = around.passes.find(record.pass);
  if (pass === undefined) return undefined;
  const { source, destination } = endpointsOf(record.tuple);
  if (record.outgoing && !record.established) return calling(record, source, destination, around, cut);
  const facts = {
    direction: pass.direction,
    peer: kindOf(pass.peer),
    handshake: 'resumed',
    source: { ...source, ...pass.sourceName },
    destination: pass.destination,
  } as const;
  const one = new QueuedFlow(record.key, record.tuple, around.sink, facts, cut, startOf(record));
  one.initial = record.initial;
  one.device = record.device;
  one.peer = pass.peer;
  one.judged = pass.judgement;
  one.established = true;
  one.verified = record.established;
  one.flow.rejudge = () => pass.rejudge(source.address);
  one.machine = record.outgoing
    ? { role: 'client', state: openClientState(record), context: new OpenContext(record.tuple) }
    : { role: 'server', state: openServerState(record), context: new OpenContext(record.tuple) };
  return { kind: 'open', one, pass };
}

/** The SYN with the Hello has left by a pass; the reducer takes over here, and hears the answer. */
function calling(
  record: PassRecord,
  source: Endpoint,
  destination: Endpoint,
  around: Surroundings,
  cut: (one: QueuedFlow) => void,
): PassedFlow | undefined {
  const view = around.view();
  const handshake = around.passes.contextOf(record.pass);
  if (view === undefined || handshake === undefined) return undefined;
  const facts = {
    direction: 'outbound',
    peer: 'unproven',
    handshake: 'none',
    source: ownEnd(view, source),
    destination: endOf(view, destination),
  } as const;
  const sentAt = startOf(record);
  const one = new QueuedFlow(record.key, record.tuple, around.sink, facts, cut, sentAt);
  one.initial = record.initial;
  one.device = record.device;
  const { hello } = record;
  const judge = answererJudge(one, destination, around);
  one.machine = {
    role: 'client',
    state: {
      at: 'syn-sent',
      ...openedOf(record),
      hello,
      machine: { at: 'awaiting-reply', hello },
      sentAt,
      sent: 1,
    },
    context: { tuple: record.tuple, handshake, judge },
  };
  return { kind: 'calling', one };
}

/** When its SYN came, as `performance.now()` counts. */
function startOf({ since }: PassRecord): number {
  return since / 1000 - MONOTONIC_ORIGIN;
}

function openedOf({ initial, window, windowShift, maximumSegment }: PassRecord) {
  return { initial, room: maximumSegment - OPTIONS_BYTES, announced: window, windowShift };
}

function openClientState(record: PassRecord) {
  const { answerInitial: serverInitial, window, windowShift } = record;
  return {
    at: 'open',
    ...openedOf(record),
    serverInitial,
    machine: { at: 'done' },
    window: windowAfter(window, { windowShift }, { windowShift }),
    proof: undefined,
  } as const;
}

function openServerState({ initial, hello, reply, maximumSegment, windowShift, established }: PassRecord) {
  return {
    at: 'open',
    answered: established,
    clientInitial: initial,
    hello,
    reply,
    maximumSegment,
    windowShift,
  } as const;
}
