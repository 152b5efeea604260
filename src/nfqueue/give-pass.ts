import { decodeFrame } from '../handshake/frames.ts';
import type { Endpoint } from '../lib/address.ts';
import { judgeClient } from '../proxy/inbound.ts';
import type { Judgement } from '../proxy/judgement.ts';
import { clientContext } from '../proxy/outbound.ts';
import type { Offered } from '../proxy/passes.ts';
import type { Surroundings } from '../proxy/surroundings.ts';
import { nameOf, provenEnd } from '../proxy/view.ts';
import { judgeAnswerer } from './judge-answerer.ts';
import type { QueuedFlow } from './queued-flow.ts';

/**
 * The next call of the application to the same place may go by a pass: it offers every session that a call through here would offer, and is decided by
 * that of whoever answers.
 * @param fitting so many sessions fit a SYN there
 */
export function passForCalls(
  one: QueuedFlow,
  destination: Endpoint,
  fitting: number,
  around: Surroundings,
): void {
  const { client } = around.sessions;
  const sessions = client.count(destination.address);
  if (!around.passes.isDueOutbound('syn', destination, destination, sessions)) return;
  const view = around.view();
  const context = clientContext(destination, around, 'syn', false);
  if (one.peer === undefined || view === undefined || context === undefined || context.toSelf) return;
  const { namespace, name: pod } = view.snapshot.self;
  const reserve = (counters: number): Offered[] =>
    client.reserveAll(destination.address, performance.now(), counters, fitting).flatMap((reserved) => {
      const { peer } = reserved.session;
      const rejudge = (): Judgement => judgeAnswerer(peer, destination, around);
      const judgement = rejudge();
      // Nobody who is refused, or is behind that address no more, is asked for an answer.
      if (judgement.verdict === 'deny') return [];
      const end = provenEnd(destination, peer);
      const told = { peer, judgement, rejudge, destination: end, sourceName: { namespace, pod } };
      return [{ ...reserved, told }];
    });
  const target = { endpoint: destination, candidates: [destination] };
  around.passes.giveOutbound(destination, target, context, NOT_DIALLED, reserve, sessions);
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
  if (peer === undefined || frame.type !== 'hello') return;
  const offered = frame.offers.map(({ sessionId }) => sessionId);
  const now = performance.now();
  const known = offered.flatMap((id) => around.sessions.server.find(id, now) ?? []);
  // The others are of other pods. Of two that are known here the first one counts, and that is not the addon's to say.
  const [found] = known;
  if (found === undefined || known.length > 1 || found.session.peer.podUid !== peer.podUid) return;
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
    offered,
  });
}
