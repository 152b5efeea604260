import { decodeFrame } from '../handshake/frames.ts';
import type { Endpoint } from '../lib/address.ts';
import { judgeClient } from '../proxy/inbound.ts';
import type { Judgement } from '../proxy/judgement.ts';
import { clientContext } from '../proxy/outbound.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { nameOf } from '../proxy/view.ts';
import { judgeAnswerer } from './judge-answerer.ts';
import type { QueuedFlow } from './queued-flow.ts';

/** The next call of the application to the same place may go by a pass: with the session that it is called with now, while there is one alone. */
export function passForCalls(one: QueuedFlow, destination: Endpoint, around: Surroundings): void {
  if (!around.passes.isDueOutbound('syn', destination, destination)) return;
  const { peer } = one;
  const view = around.view();
  const context = clientContext(destination, around, 'syn', false);
  if (peer === undefined || view === undefined || context === undefined || context.toSelf) return;
  const rejudge = (): Judgement => judgeAnswerer(peer, destination, around);
  const judgement = rejudge();
  if (judgement.verdict === 'deny') return;
  const { client } = around.sessions;
  const reserve = (counters: number) => client.reserve(destination.address, performance.now(), counters);
  const { namespace, name: pod } = view.snapshot.self;
  const target = { endpoint: destination, candidates: [destination] };
  around.passes.giveOutbound(destination, target, context, NOT_DIALLED, reserve, {
    peer,
    judgement,
    rejudge,
    destination: one.flow.facts.destination,
    sourceName: { namespace, pod },
  });
}

/** The application's own SYN goes: nothing is dialled. */
const NOT_DIALLED = { fastOpen: false, synData: false, note: () => {} };

/**
 * The next connection from the same address by the session that this one resumed may go by a pass.
 * @param hello by which it was resumed
 */
export function passForAnswers(
  one: QueuedFlow,
  hello: Uint8Array,
  source: Endpoint,
  destination: Endpoint,
  around: Surroundings,
): void {
  const { peer } = one;
  const frame = decodeFrame(hello);
  if (peer === undefined || frame.type !== 'hello' || frame.offers.length !== 1) return;
  const found = around.sessions.server.find(frame.offers[0]!.sessionId, performance.now());
  if (found === undefined || found.session.peer.podUid !== peer.podUid) return;
  const rejudge = (from: string): Judgement => judgeClient(peer, from, destination, around);
  const judgement = rejudge(source.address);
  if (judgement.verdict === 'deny') return;
  const keys = around.identity.admissionKeys();
  around.passes.giveInbound(source.address, destination, frame.destination, keys, found, {
    peer,
    judgement,
    rejudge,
    destination: one.flow.facts.destination,
    sourceName: nameOf(peer),
    keepSource: false,
    carrier: 'syn',
  });
}
