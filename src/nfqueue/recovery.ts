import type { FlowFacts, FlowSink } from '../proxy/flow.ts';
import { judgeClient } from '../proxy/inbound.ts';
import type { Judgement } from '../proxy/judgement.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { kindOf } from '../proxy/view.ts';
import { devicesByAddress } from './devices.ts';
import { endpointsOf } from './flow-endpoints.ts';
import { tupleKey } from './flow-key.ts';
import { flowId, type KeptFlow } from './flow-record-lines.ts';
import type { Marks } from './marks.ts';
import { judgeAnswerer } from './judge-answerer.ts';
import type { FlowTuple } from './packet-path.ts';
import type { QueueProxy } from './queue-proxy.ts';
import { QueuedFlow } from './queued-flow.ts';

/** What became of the connections of the run before. */
export interface Recovered {
  /** They live on, and are judged again as soon as there is policy. */
  readonly adopted: number;
  /** Marked in conntrack and recorded nowhere: nobody knows who they are with. */
  readonly cut: number;
}

/**
 * Takes back the flows of an earlier run: those that conntrack has marked and the file has recorded. What is marked and not recorded is cut; identity
 * is never derived from an address.
 */
export async function recoverFlows(
  proxy: QueueProxy,
  kept: ReadonlyMap<string, KeptFlow>,
  around: Surroundings,
  marks: Marks,
): Promise<Recovered> {
  const { value, mask } = marks.anyVerified;
  let [adopted, cut] = [0, 0];
  const devices = devicesByAddress();
  for (const { tuple, tcpState } of await proxy.path.dumpConnections(value, mask)) {
    const { source, destination } = endpointsOf(tuple);
    const direction = around.isLocalAddress(source.address) ? 'outbound' : 'inbound';
    // The queues are open already: what was verified since then has its mark, too.
    if (proxy.flows.get(tupleKey(tuple, direction === 'outbound'))?.verified === true) continue;
    const device = devices.get((direction === 'outbound' ? source : destination).address) ?? 0;
    const flow = kept.get(flowId(direction, source, destination));
    if (flow !== undefined && !isClosing(tcpState)) {
      proxy.adopt(recovered(proxy, flow, tuple, device, around));
      adopted++;
    } else {
      proxy.path.cutConnection(tuple, direction === 'outbound', device);
      if (!isClosing(tcpState)) cut++;
    }
  }
  return { adopted, cut };
}

/** TCP_CONNTRACK_TIME_WAIT and TCP_CONNTRACK_CLOSE: nothing passes any more. */
export function isClosing(tcpState: number | undefined): boolean {
  return tcpState === 7 || tcpState === 8;
}

function recovered(
  proxy: QueueProxy,
  kept: KeptFlow,
  tuple: FlowTuple,
  device: number,
  around: Surroundings,
): QueuedFlow {
  const { direction, source, destination, handshake, judgement, peer, since } = kept;
  const facts: FlowFacts = { direction, peer: kindOf(peer), handshake, source, destination };
  const sink: FlowSink = around.sink;
  const startedAt = performance.now() - Math.max(0, Date.now() - since);
  const key = tupleKey(tuple, direction === 'outbound');
  const one = new QueuedFlow(key, tuple, sink, facts, proxy.cut, startedAt);
  one.device = device;
  one.machine = { role: 'recovered' };
  one.peer = peer;
  one.judged = judgement;
  one.established = true;
  one.verified = true;
  one.flow.resume(judgement);
  // Until there is policy the last verdict stands: that a source is slow cuts nobody.
  one.flow.rejudge = (): Judgement => {
    if (around.view() === undefined) return judgement;
    return direction === 'inbound'
      ? judgeClient(peer, source.address, destination, around)
      : judgeAnswerer(peer, destination, around);
  };
  return one;
}
