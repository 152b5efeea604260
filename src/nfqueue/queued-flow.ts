import type { HandshakeKind } from '../handshake/outcome.ts';
import { Flow, type FlowConnection, type FlowFacts, type FlowSink } from '../proxy/flow.ts';
import { denied, type Judgement } from '../proxy/judgement.ts';
import type { ProvenPeer } from '../proxy/peer.ts';
import { denial } from '../proxy/refusing.ts';
import { kindOf } from '../proxy/view.ts';
import type { DenyReason } from '../observe/reasons.ts';
import type { ClientFlow, ClientFlowContext } from './flow-client-state.ts';
import { stepClientFlow } from './flow-client.ts';
import { type ServerFlow, type ServerFlowContext, stepServerFlow } from './flow-server.ts';
import type { FlowEffect, FlowEvent } from './flow-step.ts';
import type { FlowTuple } from './packet-path.ts';
import { buildReset } from './packets-build.ts';
import { sequenceAdd, type TcpPacket } from './packets.ts';
import type { Clock } from '../handshake/outcome.ts';

/** The reducer of a flow with its state. `recovered`: its handshake is long over, in this run or an earlier one. */
export type FlowMachine =
  | {
      readonly role: 'client';
      state: ClientFlow<ProvenPeer>;
      readonly context: ClientFlowContext<ProvenPeer>;
    }
  | {
      readonly role: 'server';
      state: ServerFlow<ProvenPeer>;
      readonly context: ServerFlowContext<ProvenPeer>;
    }
  | { readonly role: 'recovered' };

/** A connection that is refused at its first SYN. */
export interface RefusedOpening {
  readonly kind: 'refused';
  readonly one: QueuedFlow;
  readonly judgement: Judgement;
}

/** What an open flow's reducer has besides its state: nothing that a handshake could go on with. */
export class OpenContext {
  readonly tuple: FlowTuple;

  constructor(tuple: FlowTuple) {
    this.tuple = tuple;
  }

  get handshake(): never {
    throw new Error('the handshake of an open flow is over');
  }

  judge(): never {
    throw new Error('an open flow is judged by its own way');
  }
}

/** One connection that the queues see, with what is reported of it. */
export class QueuedFlow implements FlowConnection {
  readonly key: string;
  /** From who opened it to whom it was opened. */
  readonly tuple: FlowTuple;
  readonly startedAt: number;
  readonly flow: Flow<QueuedFlow>;
  machine: FlowMachine | undefined;
  /** The kernel has it: packets without SYN are not queued any more. */
  verified = false;
  /** Proven and allowed. */
  established = false;
  /** What policy said last. */
  judged: Judgement | undefined;
  /** Who the other side proved to be. */
  peer: ProvenPeer | undefined;
  /** Sequence number of its SYN; undefined: of a flow of an earlier run. */
  initial: number | undefined;
  /** Lets the next connection like this one go by a pass. */
  givePass: (() => void) | undefined;
  /** Number of the interface that its first packet came or went by. */
  device = 0;
  /** Newer strangers took its place. */
  evicted = false;
  /** The connection that has these ports until our kernel has accepted this one. */
  previous: QueuedFlow | undefined;
  /** Leaves the place among the half-open ones. */
  leave: (() => void) | undefined;
  /** Bytes of packets each way as conntrack counted them last. */
  counted = { bytesIn: 0, bytesOut: 0 };
  readonly #cut: (flow: QueuedFlow) => void;

  /** @param cut ends a connection that is open already */
  constructor(
    key: string,
    tuple: FlowTuple,
    sink: FlowSink,
    facts: FlowFacts,
    cut: (flow: QueuedFlow) => void,
    startedAt: number = performance.now(),
  ) {
    this.key = key;
    this.tuple = tuple;
    this.startedAt = startedAt;
    this.#cut = cut;
    this.flow = new Flow(sink, this, facts);
  }

  get outgoing(): boolean {
    return this.flow.facts.direction === 'outbound';
  }

  progress(): { bytesIn: number; bytesOut: number } {
    return this.counted;
  }

  /** Ends it where it is open; a handshake that fails has sent its own RSTs by then. */
  reset(): void {
    if (this.established) this.#cut(this);
  }

  /** Steps the reducer; a recovered flow lets everything pass. */
  step(event: FlowEvent, now: Clock): readonly FlowEffect<ProvenPeer>[] {
    const { machine } = this;
    if (machine === undefined || machine.role === 'recovered') {
      return event.kind === 'tick' ? [] : [{ kind: 'pass' }];
    }
    if (machine.role === 'client') {
      const next = stepClientFlow(machine.state, event, machine.context, now);
      machine.state = next.state;
      return next.effects;
    }
    const next = stepServerFlow(machine.state, event, machine.context, now);
    machine.state = next.state;
    return next.effects;
  }

  /** Whether a SYN belongs to this connection's own handshake: a repetition, or the other side's at the same time. Another one begins a new connection. */
  hears(opening: TcpPacket, outgoing: boolean): boolean {
    const { machine } = this;
    if (machine === undefined || machine.role === 'recovered' || machine.state.at === 'over') return false;
    if (machine.role === 'client') return !outgoing || machine.state.initial === opening.sequence;
    return !outgoing && machine.state.clientInitial === opening.sequence;
  }

  /** It is open: it only repeats what it has said, and gives up sessions, keys and questions of its handshake. */
  opened(): void {
    const { machine, tuple } = this;
    if (machine === undefined || machine.role === 'recovered' || machine.state.at !== 'open') return;
    const context = new OpenContext(tuple);
    // Two machines, told apart by their role; one spread of both would be neither.
    this.machine =
      machine.role === 'client'
        ? { role: 'client', state: machine.state, context }
        : { role: 'server', state: machine.state, context };
  }

  /** Gives up what only the handshake needed: frames, keys, contexts. */
  settle(): void {
    this.machine = { role: 'recovered' };
  }

  get isOver(): boolean {
    const { machine } = this;
    return machine !== undefined && machine.role !== 'recovered' && machine.state.at === 'over';
  }

  /** Keeps what policy said and answers as the handshake's machine wants it. */
  judge(judgement: Judgement, handshake: HandshakeKind): { allow: true } | ReturnType<typeof denial> {
    this.judged = judgement;
    this.flow.learn({ peer: kindOf(this.peer ?? {}), handshake });
    return judgement.verdict === 'deny' ? denial(judgement) : { allow: true };
  }

  /** Reports a handshake that failed. @param peer who refuses, proven by the keys of a session or of this handshake */
  failed(reason: DenyReason, detail: string, peer?: ProvenPeer): void {
    const { judged } = this;
    if (peer !== undefined && this.flow.facts.peer !== 'proven') {
      this.flow.learn({ peer: 'proven', handshake: 'resumed' });
    }
    this.flow.deny(judged?.reason === reason ? judged : denied(reason, 'enforce', { detail }));
  }
}

/** The RST by which our own kernel forgets a connection that it has half open; undefined when it has none. */
export function resetForKernel({ machine, tuple }: QueuedFlow): Uint8Array | undefined {
  if (machine?.role !== 'server' || machine.state.at !== 'greeted') return undefined;
  return buildReset(tuple, { sequence: sequenceAdd(machine.state.clientInitial, 1) });
}
