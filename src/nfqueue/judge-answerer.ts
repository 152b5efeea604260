import type { Endpoint } from '../lib/address.ts';
import { allowed, denied, type Judgement } from '../proxy/judgement.ts';
import { judgeServer } from '../proxy/outbound.ts';
import type { ProvenPeer } from '../proxy/peer.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { notReady, provenEnd } from '../proxy/view.ts';
import { endpointOfServer } from './carrier-choice.ts';
import type { ClientFlowContext } from './flow-client-state.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** Behind a Service any endpoint may answer; the proven one's own address and target port are what policy is about. */
export function judgeAnswerer(peer: ProvenPeer, original: Endpoint, around: Surroundings): Judgement {
  const view = around.view();
  if (view === undefined) return notReady();
  const endpoint = endpointOfServer(view, original, peer.podUid);
  if (endpoint === undefined) {
    const detail = `${peer.namespace}/${peer.podName} is no endpoint of ${original.address} port ${original.port}`;
    return denied('wrong-peer', 'enforce', { detail });
  }
  if (view.isSelf(endpoint.address)) return allowed('self');
  return judgeServer(peer, endpoint, around);
}

/** How the handshake of a call judges who answers; the flow learns who that is. */
export function answererJudge(
  one: QueuedFlow,
  destination: Endpoint,
  around: Surroundings,
): ClientFlowContext<ProvenPeer>['judge'] {
  const judge = (peer: ProvenPeer): Judgement => judgeAnswerer(peer, destination, around);
  return (peer, kind) => {
    one.flow.learn({ destination: provenEnd(destination, peer) });
    one.flow.rejudge = () => judge(peer);
    one.peer = peer;
    return one.judge(judge(peer), kind);
  };
}
