import type { Clock } from '../handshake/outcome.ts';
import { denied, type Judgement } from '../proxy/judgement.ts';
import { judgeClient, serverContext } from '../proxy/inbound.ts';
import type { ProvenPeer } from '../proxy/peer.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { endOf, notReady, provenEnd, unprovenKind } from '../proxy/view.ts';
import { endpointsOf } from './flow-endpoints.ts';
import { openServerFlow } from './flow-server.ts';
import { passForAnswers } from './give-pass.ts';
import type { FlowEffect } from './flow-step.ts';
import { readSynOptions } from './packets-options.ts';
import { payloadOf, type TcpPacket, tupleOf } from './packets.ts';
import { QueuedFlow, type RefusedOpening } from './queued-flow.ts';
import type { Strangers } from './strangers.ts';

/** What becomes of a SYN with a preamble that somebody sends to this pod. */
export type OpenedServer =
  | { readonly kind: 'drop' }
  | RefusedOpening
  | {
      readonly kind: 'opened';
      readonly one: QueuedFlow;
      readonly effects: readonly FlowEffect<ProvenPeer>[];
    };

/** Begins a flow with the first SYN of a connection to this pod. */
export function openServer(
  key: string,
  packet: TcpPacket,
  around: Surroundings,
  strangers: Strangers,
  cut: (one: QueuedFlow) => void,
  now: Clock,
): OpenedServer {
  const options = readSynOptions(packet);
  if (options === undefined) return { kind: 'drop' };
  const tuple = tupleOf(packet);
  const { source, destination } = endpointsOf(tuple);
  const hello = payloadOf(packet);
  const question = {
    hello,
    source: source.address,
    admissionKeys: around.identity.admissionKeys(),
    knowsSession: (id: Uint8Array) => around.sessions.server.find(id, now.monotonic) !== undefined,
    hasPlace: () => around.halfOpen.admits(source.address, now.monotonic),
  };
  const admission = strangers.admit(question, now.monotonic);
  if (admission === 'drop') return { kind: 'drop' };
  const view = around.view();
  const one = new QueuedFlow(
    key,
    tuple,
    around.sink,
    {
      direction: 'inbound',
      peer: view === undefined ? 'unproven' : unprovenKind(view.owner(source.address)),
      handshake: 'none',
      source: endOf(view, source),
      destination: endOf(view, destination),
    },
    cut,
    now.monotonic,
  );
  const refused = (judgement: Judgement): OpenedServer => ({ kind: 'refused', one, judgement });
  if (!around.isLocalAddress(destination.address)) return refused(denied('destination-not-local', 'enforce'));
  if (around.draining()) return refused(denied('draining', 'enforce'));
  if (view === undefined) return refused(notReady());
  const handshake = serverContext(destination, around, 'syn');
  if (handshake === undefined) return refused(denied('identity-unavailable', 'enforce'));
  const judge = (peer: ProvenPeer): Judgement => judgeClient(peer, source.address, destination, around);
  const context = {
    tuple,
    handshake: admission === 'hear' ? handshake : { ...handshake, admitted: hello },
    judge: (peer: ProvenPeer, kind: 'full' | 'resumed') => {
      one.flow.learn({ source: provenEnd(source, peer) });
      one.flow.rejudge = () => judge(peer);
      one.peer = peer;
      return one.judge(judge(peer), kind);
    },
  };
  const begun = performance.now();
  const opened = openServerFlow(packet, options, hello, context, now);
  if (admission !== 'hear-known' || opened.state.at === 'greeted') strangers.spent(performance.now() - begun);
  if (admission === 'hear-known' && opened.state.at === 'greeted')
    strangers.fellThrough(source.address, now.monotonic);
  one.initial = packet.sequence;
  // The session of a full handshake is known by the connection that resumes it.
  if (opened.state.at === 'open')
    one.givePass = () => passForAnswers(one, hello, source, destination, around);
  one.machine = { role: 'server', state: opened.state, context };
  if (opened.state.at === 'greeted') {
    const evict = (): void => {
      one.evicted = true;
    };
    one.leave = around.halfOpen.enter(source.address, evict, now.monotonic);
  }
  return { kind: 'opened', one, effects: opened.effects };
}
