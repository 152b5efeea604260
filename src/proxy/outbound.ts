import { drawRandomness } from '../handshake/ephemeral.ts';
import type { ClientContext } from '../handshake/client.ts';
import type { Carrier } from '../handshake/frame-types.ts';
import type { ProvenPeer } from './peer.ts';
import type { Endpoint } from '../lib/address.ts';
import type { ServiceEndpoint } from '../peers/directory.ts';
import { pickEvenly } from '../peers/endpoint-choice.ts';
import type { Connection, ConnectionEvent } from './connection.ts';
import { dialFast, dialOut, synFor } from './dial-out.ts';
import { Flow } from './flow.ts';
import { clientHandshake, type HandshakeResult, isWithoutAnswer, type JudgePeer } from './handshakes.ts';
import { allowed, denied, type Judgement } from './judgement.ts';
import { denial, refuse, refuseEvent, refuseResult } from './refusing.ts';
import { DEADLINE, type Surroundings } from './surroundings.ts';
import { candidatesAt, chooseTarget, type Target } from './target.ts';
import { endOf, kindOf, notReady, ownEnd, provenEnd, type View } from './view.ts';

/**
 * The life of a connection that this pod's application makes, from the accepted socket to its record.
 *
 * The source says whether the other side speaks the preamble; nobody probes. Where it does, both sides prove themselves before the
 * first application byte goes; where it does not, the destination is judged by what the source knows of its address.
 */
export async function outbound(connection: Connection, around: Surroundings): Promise<void> {
  const { peer, local, original } = connection.accepted;
  const flow = new Flow(around.sink, connection, {
    direction: 'outbound',
    peer: 'unproven',
    handshake: 'none',
    source: ownEnd(around.view(), peer),
    destination: endOf(around.view(), original ?? local),
  });

  if (original === undefined || (original.address === local.address && original.port === local.port)) {
    return refuse(flow, 'not-redirected');
  }
  if (around.draining()) return refuse(flow, 'draining');
  const target = await findTarget(connection, original, around);
  const view = around.view();
  if (target === undefined || view === undefined) {
    return flow.deny(
      view === undefined ? notReady() : denied('handshake-aborted', 'enforce', { detail: 'the client left' }),
    );
  }

  switch (target.kind) {
    case 'refused':
      return flow.deny(target.judgement);
    case 'unknown': {
      const judgement = denied('address-unknown', view.mode);
      return judgement.verdict === 'deny'
        ? flow.deny(judgement)
        : plain(flow, original, () => judgement, around);
    }
    case 'self':
      flow.learn({ destination: ownEnd(view, target.endpoint) });
      return await plain(flow, target.endpoint, () => allowed('self'), around);
    case 'plain': {
      flow.learn({ peer: target.peer, destination: endOf(view, target.endpoint) });
      const again = (): Judgement => judgePlain(around.view() ?? view, original, target, around);
      return target.judgement.verdict === 'deny'
        ? flow.deny(target.judgement)
        : await plain(flow, target.endpoint, again, around);
    }
    case 'foreign':
      flow.learn({ destination: { ...target.endpoint, trustDomain: target.domain } });
      return await proven(flow, original, target, around);
    case 'enrolled':
      flow.learn({ destination: endOf(view, target.endpoint) });
      return target.judgement.verdict === 'deny'
        ? flow.deny(target.judgement)
        : await proven(flow, original, target, around);
  }
}

/**
 * Where the connection goes; an address that nobody knows is held for a moment, since the source may be about to learn it.
 * @param failed addresses of endpoints that did not answer, to be tried last
 */
async function findTarget(
  connection: Connection,
  original: Endpoint,
  around: Surroundings,
  failed: ReadonlySet<string> = new Set(),
): Promise<Target | undefined> {
  const until = performance.now() + DEADLINE.unknownAddress;
  const { picked } = connection.accepted;
  for (;;) {
    const view = around.view();
    if (view === undefined || connection.isClosed) return undefined;
    const target = chooseTarget(view, original, (service, among) => {
      const others = among.filter(({ address }) => !failed.has(address));
      const candidates = around.candidates(service, others);
      return (
        pick(candidates, failed.size === 0 ? picked : undefined) ?? pick(around.candidates(service, among))
      );
    });
    const left = until - performance.now();
    if (target.kind !== 'unknown' || left <= 0) return target;
    await around.changed(left);
  }
}

/** @param picked who was picked for this connection already; another pick would shift what each of them gets */
function pick(candidates: readonly ServiceEndpoint[], picked?: Endpoint): ServiceEndpoint | undefined {
  const same = picked && candidates.find((one) => one.address === picked.address && one.port === picked.port);
  return same ?? pickEvenly(candidates, Math.random());
}

/** Without a handshake: dial and relay, as long as the verdict stands. */
async function plain(
  flow: Flow,
  endpoint: Endpoint,
  judge: () => Judgement,
  around: Surroundings,
): Promise<void> {
  const { connection } = flow;
  const dialled = await dialOut(connection, endpoint, { fastOpen: false });
  if (dialled.kind !== 'dialled') return refuseEvent(flow, dialled);
  if (dialled.error !== undefined) return refuse(flow, 'dial-failed', dialled.error);
  const judgement = judge();
  if (judgement.verdict === 'deny') return flow.deny(judgement);
  flow.rejudge = judge;
  flow.judge(judgement);
  connection.relay({ guard: false });
  await relayed(flow, around);
}

/** A Service address that is dialled as it stands may be answered by any endpoint: all of them are judged again. */
function judgePlain(
  view: View,
  original: Endpoint,
  target: Target & { kind: 'plain' },
  around: Surroundings,
): Judgement {
  if (target.endpoint.address !== original.address) return view.outboundUnproven(target.endpoint);
  const now = chooseTarget(view, original, (service, among) => pick(around.candidates(service, among)));
  // What may be dialled differently from now on does not cut what is open; only a denial does.
  if (now.kind === 'foreign') return view.outboundUnproven(target.endpoint);
  if (now.kind === 'plain' || now.kind === 'enrolled' || now.kind === 'refused') return now.judgement;
  return target.judgement;
}

/** A target that speaks the preamble. */
type Speaking = Target & { readonly kind: 'enrolled' | 'foreign' };

/** With a handshake; once again if the server did not understand it, or if the source learnt who the server is meanwhile. */
async function proven(flow: Flow, original: Endpoint, first: Speaking, around: Surroundings): Promise<void> {
  let target = first;
  const failed = new Set<string>();
  for (let attempt = 1; ; attempt++) {
    const { endpoint } = target;
    if (around.silentPeers.has(endpoint)) {
      return refuse(flow, 'peer-silent', 'it did not answer a preamble a moment ago');
    }
    const { result, judged } = await handshake(flow, target, around, attempt === 1);
    if (result.kind === 'established') {
      // While the Verdict was on its way something may have changed that cuts it now.
      const standing = flow.rejudge?.() ?? judged ?? allowed('not-isolated');
      if (standing.verdict === 'deny') return flow.deny(standing);
      if (flow.judgement === undefined) flow.judge(standing);
      around.passes.soon(() => givePass(flow, original, endpoint, result.peer, around));
      return await relayed(flow, around);
    }
    const again = isWithoutAnswer(result) || (result.kind === 'failed' && REDIAL.has(result.reason));
    if (!again || attempt === 2) {
      if (result.kind === 'unanswered') around.silentPeers.add(endpoint);
      return refuseResult(flow, result, judged);
    }
    // A server that did not expect a preamble may have missed the mark: it is sent again in any case.
    if (isWithoutAnswer(result)) around.fastOpen.forget(endpoint.address);
    if (result.kind === 'failed' && result.reason === 'wrong-peer') {
      await around.changed(DEADLINE.unknownAddress);
    }
    failed.add(endpoint.address);
    const next = await findTarget(flow.connection, original, around, failed);
    if (next?.kind !== 'foreign' && (next?.kind !== 'enrolled' || next.judgement.verdict === 'deny'))
      return refuseResult(flow, result, judged);
    target = next;
    flow.learn({ destination: endOf(around.view(), target.endpoint) });
  }
}

/** Failures that another try may mend: the pod behind the address has changed, or has just gone. */
const REDIAL: ReadonlySet<string> = new Set(['wrong-peer', 'dial-failed']);

async function handshake(
  flow: Flow,
  target: Speaking,
  around: Surroundings,
  first: boolean,
): Promise<{ result: HandshakeResult; judged: Judgement | undefined }> {
  const { endpoint } = target;
  const leave = await around.gate.enter(`${endpoint.address} ${endpoint.port}`, DEADLINE.handshake);
  try {
    return await handshakeNow(flow, endpoint, around, first ? begunBy(flow, endpoint, around) : undefined);
  } finally {
    leave();
  }
}

/** The handshake that a pass has begun with this endpoint, as long as all stands that it was begun by. */
function begunBy(flow: Flow, endpoint: Endpoint, around: Surroundings): BegunHandshake | undefined {
  const { begun } = flow.connection.accepted;
  const pass = begun === undefined ? undefined : around.passes.find(begun.pass);
  const context = pass && around.passes.contextOf(pass.number);
  if (begun?.reply === undefined || context === undefined || !around.passes.stands(pass!)) return undefined;
  const { address, port } = context.destination;
  return address === endpoint.address && port === endpoint.port
    ? { hello: begun.hello, reply: begun.reply, context }
    : undefined;
}

interface BegunHandshake {
  readonly hello: Uint8Array;
  readonly reply: Uint8Array;
  readonly context: ClientContext<ProvenPeer>;
}

async function handshakeNow(
  flow: Flow,
  endpoint: Endpoint,
  around: Surroundings,
  begun: BegunHandshake | undefined,
): Promise<{ result: HandshakeResult; judged: Judgement | undefined }> {
  const context = begun?.context ?? clientContext(endpoint, around, 'stream');
  if (context === undefined) {
    return {
      result: { kind: 'failed', reason: 'identity-unavailable', detail: 'no valid own token' },
      judged: undefined,
    };
  }
  const judge = (peer: ProvenPeer): Judgement => judgeServer(peer, endpoint, around);
  let judged: Judgement | undefined;
  const judgePeer: JudgePeer = (peer, kind) => {
    flow.learn({
      peer: kindOf(peer),
      handshake: kind,
      destination: provenEnd(endpoint, peer),
    });
    judged = judge(peer);
    if (judged.verdict === 'deny') return Promise.resolve(denial(judged));
    flow.rejudge = () => judge(peer);
    return Promise.resolve({ allow: true });
  };
  const nonce = Buffer.from(context.randomness.nonce).toString('hex');
  around.pendingHellos.add(nonce);
  try {
    const dial = (hello: Uint8Array): Promise<ConnectionEvent> =>
      dialFast(flow.connection, endpoint, hello, around.fastOpen);
    const result = await clientHandshake(
      flow.connection,
      endpoint,
      dial,
      context,
      judgePeer,
      DEADLINE.handshake,
      begun,
    );
    return { result, judged };
  } finally {
    around.pendingHellos.delete(nonce);
  }
}

/** The next connection of the application to the same place may go without asking. */
function givePass(
  flow: Flow,
  original: Endpoint,
  endpoint: Endpoint,
  peer: ProvenPeer,
  around: Surroundings,
): void {
  if (!around.passes.isDueOutbound('stream', original, endpoint)) return;
  const view = around.view();
  if (view === undefined || around.silentPeers.has(endpoint)) return;
  const candidates = candidatesAt(view, original, around.candidates) ?? [original];
  if (!candidates.some(({ address, port }) => address === endpoint.address && port === endpoint.port)) return;
  const context = clientContext(endpoint, around, 'stream', false);
  const rejudge = (): Judgement => judgeServer(peer, endpoint, around);
  const judgement = rejudge();
  if (context === undefined || judgement.verdict === 'deny') return;
  const { client } = around.sessions;
  const { namespace, name: pod } = view.snapshot.self;
  const { destination } = flow.facts;
  const told = { peer, judgement, rejudge, destination, sourceName: { namespace, pod } };
  const reserve = (counters: number) => {
    const reserved = client.reserve(endpoint.address, performance.now(), counters);
    return reserved?.session.peer.podUid === peer.podUid ? [{ ...reserved, told }] : [];
  };
  const target = { endpoint, candidates };
  around.passes.giveOutbound(original, target, context, synFor(endpoint, around.fastOpen), reserve);
}

/** What the client's machine needs to call `endpoint`; undefined while there is no own identity. @param offering whether sessions take part */
export function clientContext(
  endpoint: Endpoint,
  around: Surroundings,
  carrier: Carrier,
  offering = true,
): ClientContext<ProvenPeer> | undefined {
  const credentials = around.identity.credentials();
  const admissionKey = around.identity.ownAdmissionKey();
  if (credentials === undefined || admissionKey === undefined) return undefined;
  const { client } = around.sessions;
  const remember = client.adder();
  return {
    credentials,
    admissionKey,
    randomness: drawRandomness(around.takeEphemeral),
    carrier,
    wishes: { encryption: 'none' },
    destination: endpoint,
    toSelf: around.view()?.isSelf(endpoint.address) ?? false,
    offers: offering ? client.offer(endpoint.address, performance.now()) : [],
    verify: (token) => around.identity.verify(token),
    remember: (session) => remember(endpoint.address, session),
  };
}

/** Who proved itself must be who the source says is there, and policy must allow it. */
export function judgeServer(peer: ProvenPeer, endpoint: Endpoint, around: Surroundings): Judgement {
  const view = around.view();
  if (view === undefined) return notReady();
  if (view.isGone(peer) || !around.identity.stillHolds(peer)) {
    return denied('identity-revoked', 'enforce');
  }
  const owner = view.owner(endpoint.address);
  const domain = owner.kind === 'foreign' ? owner.domain : undefined;
  // Another domain answers in its own networks and nowhere else, and nobody else answers there.
  if (peer.foreignDomain !== domain) {
    const detail = `${peer.namespace}/${peer.podName} of ${peer.foreignDomain ?? 'the own trust domain'} answered where ${domain ?? 'the own one'} is`;
    return denied('wrong-peer', 'enforce', { detail });
  }
  if (owner.kind === 'pod' && owner.pod.uid !== peer.podUid) {
    const detail = `${peer.namespace}/${peer.podName} answered for ${owner.pod.namespace}/${owner.pod.name}`;
    return denied('wrong-peer', 'enforce', { detail });
  }
  return view.outboundProven(peer, endpoint);
}

async function relayed(flow: Flow, around: Surroundings): Promise<void> {
  around.open.add(flow);
  try {
    flow.end(await flow.connection.ended());
  } finally {
    around.open.delete(flow);
  }
}
