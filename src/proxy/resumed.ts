import type { DataPath } from '../relay/data-path.ts';
import type { ByPass } from '../relay/resumption.ts';
import type { ConnectionEvent, Listening } from './connection.ts';
import { Flow, type FlowConnection, type FlowEnd, type FlowFacts, type FlowSink } from './flow.ts';
import type { Endpoint } from '../lib/address.ts';
import type { Judgement } from './judgement.ts';
import { type OpenFlow, type OpenFlows, rejudge } from './open-flows.ts';
import type { GivenPass, Passes } from './passes.ts';
import { kindOf } from './view.ts';

/** What all connections that go by passes share. */
export interface ByPassSurroundings {
  readonly dataPath: DataPath;
  readonly passes: Passes;
  readonly open: OpenFlows;
  readonly sink: FlowSink;
  /** Of whatever is told of at the moment: used again for the next. */
  readonly passing: PassingFacts;
}

/**
 * Everything that is told of connections that went by a pass goes here: the same counters, records and judgements as for all others.
 * @returns who hears of its end; undefined: it is over already
 */
export function resumed(told: ByPass, around: ByPassSurroundings): Listening | undefined {
  const { dataPath, passes, open, sink } = around;
  const pass = passes.find(told.pass);
  if (pass === undefined) {
    // Given so long ago that nobody knows what was decided.
    dataPath.reset(told.id);
    return undefined;
  }
  pass.noteDial?.(told.startedAt, told.dial);
  if (told.ending !== undefined) {
    const facts = around.passing.of(told.peer, pass);
    sink.counted(facts, pass.judgement, told.handshakeMs);
    sink.recorded(facts, pass.judgement, told.ending);
    sink.relayed(told.ending.bytesIn, told.ending.bytesOut);
    return undefined;
  }
  const connection = new ResumedConnection(around, pass, told);
  open.add(connection);
  // Between the decision and the news of it something may have changed that cuts it now.
  if (!passes.stands(pass)) rejudge(connection);
  return connection;
}

/**
 * An open connection that a pass has established. A pod may hold many at rest, so it is one small object; its {@link Flow} is made when
 * something is to be said of it.
 */
class ResumedConnection implements FlowConnection, OpenFlow, Listening {
  readonly startedAt: number;
  readonly #around: ByPassSurroundings;
  readonly #pass: GivenPass;
  readonly #id: number;
  readonly #address: string;
  readonly #port: number;
  #said: Flow<FlowConnection> | undefined;

  constructor(around: ByPassSurroundings, pass: GivenPass, { id, peer, startedAt, handshakeMs }: ByPass) {
    this.#around = around;
    this.#pass = pass;
    this.#id = id;
    this.#address = peer.address;
    this.#port = peer.port;
    this.startedAt = startedAt;
    const flow = this.#makeFlow();
    flow.judge(pass.judgement, handshakeMs);
    // What audit mode let pass is recorded already, and not again at the end.
    this.#said = pass.judgement.verdict === 'allow' ? undefined : flow;
  }

  get direction(): FlowFacts['direction'] {
    return this.#pass.direction;
  }

  get judgement(): Judgement | undefined {
    return this.#said === undefined ? this.#pass.judgement : this.#said.judgement;
  }

  rejudge(): Judgement {
    return this.#pass.rejudge(this.#address);
  }

  judge(judgement: Judgement): void {
    this.#flow().judge(judgement);
  }

  deny(judgement: Judgement): void {
    this.#flow().deny(judgement);
  }

  post(event: ConnectionEvent): void {
    if (event.kind !== 'closed') return;
    queueMicrotask(() => {
      this.#flow().end(event.closed);
      this.#around.open.delete(this);
    });
  }

  progress(): { bytesIn: number; bytesOut: number } | undefined {
    return this.#around.dataPath.progress(this.#id);
  }

  reset(): void {
    this.#around.dataPath.reset(this.#id);
  }

  /** As it was judged when it came. */
  #flow(): Flow<FlowConnection> {
    if (this.#said === undefined) {
      this.#said = this.#makeFlow();
      this.#said.resume(this.#pass.judgement);
    }
    return this.#said;
  }

  #makeFlow(): Flow<FlowConnection> {
    const facts = factsOf({ address: this.#address, port: this.#port }, this.#pass);
    return new Flow<FlowConnection>(this.#around.sink, this, facts);
  }
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/**
 * The facts of one short connection after the other, in one object: what becomes old among thousands a second costs the garbage collector more
 * than the rest of what is done about them.
 */
export class PassingFacts {
  readonly #source: Writable<FlowEnd> = {
    address: '',
    port: 0,
    namespace: '',
    pod: '',
    trustDomain: '',
  };
  #facts: Writable<FlowFacts> | undefined;

  /** @returns hold until the next call */
  of(peer: Endpoint, pass: GivenPass): FlowFacts {
    const source = this.#source;
    source.address = peer.address;
    source.port = peer.port;
    source.namespace = pass.sourceName.namespace;
    source.pod = pass.sourceName.pod;
    source.trustDomain = pass.sourceName.trustDomain ?? ''; // as good as none
    const facts: Writable<FlowFacts> = (this.#facts ??= factsOf(peer, pass));
    facts.direction = pass.direction;
    facts.peer = kindOf(pass.peer);
    facts.source = source;
    facts.destination = pass.destination;
    return facts;
  }
}

function factsOf(peer: Endpoint, pass: GivenPass): FlowFacts {
  return {
    direction: pass.direction,
    peer: kindOf(pass.peer),
    handshake: 'resumed',
    source: { address: peer.address, port: peer.port, ...pass.sourceName },
    destination: pass.destination,
  };
}
