import type { DataPath } from '../relay/data-path.ts';
import type { ByPass } from '../relay/resumption.ts';
import { Connection } from './connection.ts';
import { Flow, type FlowFacts, type FlowSink } from './flow.ts';
import { type OpenFlows, rejudge } from './open-flows.ts';
import type { GivenPass, Passes } from './passes.ts';
import { kindOf } from './view.ts';

/** Everything that is told of connections that went by a pass goes here: the same counters, records and judgements as for all others. */
export function resumed(
  told: ByPass,
  dataPath: DataPath,
  passes: Passes,
  open: OpenFlows,
  sink: FlowSink,
): Connection | undefined {
  const pass = passes.find(told.pass);
  if (pass === undefined) {
    // Given so long ago that nobody knows what was decided.
    dataPath.reset(told.id);
    return undefined;
  }
  pass.noteDial?.(told.startedAt, told.dial);
  const facts = factsOf(told, pass);
  if (told.ending !== undefined) {
    sink.counted(facts, pass.judgement, told.handshakeMs);
    sink.recorded(facts, pass.judgement, told.ending);
    sink.relayed(told.ending.bytesIn, told.ending.bytesOut);
    return undefined;
  }
  const accepted = {
    role: pass.direction,
    peer: told.peer,
    local: facts.destination,
    original: facts.destination,
    syn: NO_SYN,
  };
  const connection = new Connection(dataPath, told.id, accepted, told.startedAt);
  const flow = new Flow(sink, connection, facts);
  flow.rejudge = () => pass.rejudge(told.peer.address);
  flow.judge(pass.judgement, told.handshakeMs);
  open.add(flow);
  connection.onEnd((closed) => {
    flow.end(closed);
    open.delete(flow);
  });
  // Between the decision and the news of it something may have changed that cuts it now.
  if (!passes.stands(pass)) rejudge(flow);
  return connection;
}

const NO_SYN = new Uint8Array(0);

function factsOf(told: ByPass, pass: GivenPass): FlowFacts {
  return {
    direction: pass.direction,
    peer: kindOf(pass.peer),
    handshake: 'resumed',
    source: { address: told.peer.address, port: told.peer.port, ...pass.sourceName },
    destination: pass.destination,
  };
}
